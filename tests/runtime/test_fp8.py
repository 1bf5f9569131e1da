"""Linear layers in 8-bit floats; without a GPU the rounded numbers are multiplied in float32."""

import pytest
import torch
from torch import Tensor, nn

from longlive.runtime.fp8 import FP8, Fp8Linear, round_rows
from longlive.runtime.quantization import quantize_fp8, weight_bytes
from tests.support.tiny_transformer import tiny_transformer


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def test_rows_have_a_scale_each() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 64) * torch.tensor([[1e-4], [1.0], [1e4], [0.0]])
    values, scales = round_rows(x)
    assert values.dtype == FP8 and scales.shape == (4, 1)
    for row in range(3):
        assert distance(values[row].float() * scales[row], x[row]) < 0.04
    assert not values[3].float().any()


def test_a_layer_is_near_the_one_it_was_made_of() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(64, 48).requires_grad_(False)
    rounded, x = Fp8Linear.of(linear), torch.randn(2, 3, 64)
    assert 1e-3 < distance(rounded(x), linear(x)) < 0.06
    assert rounded.weight.dtype == FP8


def test_layers_side_by_side_give_what_each_gives_and_share_the_memory() -> None:
    torch.manual_seed(0)
    layers, x = [Fp8Linear.of(nn.Linear(64, 16)) for _ in range(3)], torch.randn(5, 64)
    expected = torch.cat([layer(x) for layer in layers], 1)
    whole = Fp8Linear.joined(layers)
    assert torch.allclose(whole(x), expected, atol=1e-6)
    assert torch.allclose(torch.cat([layer(x) for layer in layers], 1), expected, atol=1e-6)
    assert torch.allclose(whole.rows(16)(x), expected[:, 16:], atol=1e-6)
    storage = whole.weight.untyped_storage().data_ptr()
    assert {layer.weight.untyped_storage().data_ptr() for layer in layers} == {storage}


def test_only_the_large_products_of_a_transformer_are_rounded() -> None:
    transformer = tiny_transformer()
    before = weight_bytes(transformer)
    quantize_fp8(transformer)
    block = transformer.blocks[0]
    rounded = [name for name, layer in block.named_modules() if isinstance(layer, Fp8Linear)]
    assert rounded == ["attn1.to_q", "attn1.to_k", "attn1.to_v", "ffn.net.0.proj", "ffn.net.2"]
    assert weight_bytes(transformer) < before


@pytest.mark.parametrize("name", ["attn1", "attn2"])
def test_the_output_product_of_an_attention_stays(name: str) -> None:
    transformer = tiny_transformer()
    quantize_fp8(transformer)
    assert type(getattr(transformer.blocks[0], name).to_out[0]) is nn.Linear
