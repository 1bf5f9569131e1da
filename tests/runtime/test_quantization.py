"""8-bit products stay near the exact ones, take a quarter of float32's memory, and leave the rest alone."""

import copy

import pytest
import torch
from torch import nn

from longlive import ConfigError, ModelBundle
from longlive.models.transformer import CausalWanTransformer
from longlive.runtime.compilation import optimize_for_inference
from longlive.runtime.quantization import Int8Linear, check_kind, quantize, weight_bytes


@pytest.fixture
def transformer(tiny_models: ModelBundle) -> CausalWanTransformer:
    return copy.deepcopy(tiny_models.transformer)


def test_a_rounded_layer_is_near_the_exact_one() -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(64, 48), torch.randn(2, 5, 64)
    rounded = Int8Linear(linear)
    error = (rounded(x) - linear(x)).norm() / linear(x).norm()
    assert 1e-4 < error < 0.03, "rounded, and no more than that"
    assert rounded(x.bfloat16()).dtype == torch.bfloat16


def test_each_output_channel_has_its_own_scale() -> None:
    linear = nn.Linear(32, 2, bias=True)
    with torch.no_grad():
        linear.weight[0] *= 1000
    x = torch.randn(4, 32)
    error = (Int8Linear(linear)(x) - linear(x)).abs().amax(0) / linear(x).abs().amax(0)
    assert error.max() < 0.05


def test_only_the_products_of_the_blocks_are_rounded(transformer: CausalWanTransformer) -> None:
    before = weight_bytes(transformer)
    linears = [module for module in transformer.blocks.modules() if isinstance(module, nn.Linear)]
    quantize(transformer, "int8")
    assert not [module for module in transformer.blocks.modules() if type(module) is nn.Linear]
    rounded = [module for module in transformer.modules() if isinstance(module, Int8Linear)]
    assert len(rounded) == len(linears) == 2 * 10
    assert type(transformer.proj_out) is nn.Linear
    assert type(transformer.condition_embedder.time_proj) is nn.Linear
    numbers = sum(linear.weight.numel() for linear in linears)
    channels = sum(linear.out_features for linear in linears)
    assert weight_bytes(transformer) == before - 3 * numbers + 4 * channels


def test_a_rounded_transformer_predicts_nearly_the_same(
    tiny_models: ModelBundle, transformer: CausalWanTransformer
) -> None:
    quantize(transformer, "int8")
    optimize_for_inference(transformer, fuse=False)
    torch.manual_seed(0)
    config = tiny_models.config
    latents, tokens = torch.randn(1, 3, *config.latent_shape), torch.randn(1, 12, 16)
    with torch.no_grad():
        exact, rounded = (
            one(latents, 500.0, one.read_prompt(tokens)) for one in (tiny_models.transformer, transformer)
        )
    error = (rounded - exact).norm() / exact.norm()
    assert 1e-5 < error < 0.05


def test_a_weight_that_wraps_others_takes_what_they_take() -> None:
    from torch.testing._internal.two_tensor import TwoTensor

    linear = nn.Linear(8, 4, bias=False)
    linear.weight = nn.Parameter(TwoTensor(torch.zeros(4, 8), torch.zeros(4, 8)))
    assert weight_bytes(linear) == 2 * 4 * 8 * 4


def test_off_changes_nothing(transformer: CausalWanTransformer) -> None:
    quantize(transformer, "off")
    assert not [module for module in transformer.modules() if isinstance(module, Int8Linear)]


@pytest.mark.parametrize(
    ("kind", "words"), [("int4", "it must be one of"), ("fp8", "8-bit floats need a GPU, not cpu")]
)
def test_what_is_not_to_be_had_is_told(kind: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_kind(kind, torch.device("cpu"))
