"""Attention: softmax without a mask, shared prompts, and norms over all heads in float32."""

import pytest
import torch

from longlive.models.attention import Attention, RmsNorm, attend


def test_attend_is_softmax_attention_with_the_usual_scale() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 5, 3, 8), torch.randn(2, 7, 3, 8), torch.randn(2, 7, 3, 8)
    weights = (torch.einsum("blnd,bmnd->bnlm", q, k) / 8**0.5).softmax(-1)
    expected = torch.einsum("bnlm,bmnd->blnd", weights, v).flatten(2)
    assert torch.allclose(attend(q, k, v), expected, atol=1e-6)


def test_a_batch_may_share_one_prompt() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 5, 2, 8), torch.randn(1, 7, 2, 8), torch.randn(1, 7, 2, 8)
    repeated = attend(q, k.repeat(3, 1, 1, 1), v.repeat(3, 1, 1, 1))
    assert torch.allclose(attend(q, k, v), repeated, atol=1e-6)


def test_mixed_precision_follows_the_values() -> None:
    """Under autocast, norms give float32 queries and keys beside bfloat16 values."""
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 5, 2, 8), torch.randn(1, 7, 2, 8), torch.randn(1, 7, 2, 8)
    out = attend(q, k, v.bfloat16())
    assert out.dtype == torch.bfloat16
    assert torch.allclose(out.float(), attend(q, k, v), atol=0.05)


def test_rms_norm_spans_all_heads_with_the_released_eps() -> None:
    torch.manual_seed(0)
    attention, x = Attention(24, 2, 1e-6), torch.randn(1, 4, 24) * 1e-3
    torch.nn.init.normal_(attention.norm_q.weight)
    q = attention.to_q(x).double()
    expected = q / (q.square().mean(-1, keepdim=True) + 1e-6).sqrt() * attention.norm_q.weight
    assert torch.allclose(attention.queries(x).flatten(2).double(), expected, atol=1e-6)


def test_rms_norm_is_computed_in_float32_then_cast_then_weighted() -> None:
    torch.manual_seed(0)
    norm, x = RmsNorm(32, 1e-6).bfloat16(), torch.randn(1, 4, 32).bfloat16()
    torch.nn.init.normal_(norm.weight)
    inside = x.float() * (x.float().square().mean(-1, keepdim=True) + 1e-6).rsqrt()
    assert torch.equal(norm(x), inside.bfloat16() * norm.weight)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_values_are_neither_normed_nor_mixed_between_heads(heads: int) -> None:
    torch.manual_seed(0)
    attention, x = Attention(24, heads, 1e-6), torch.randn(2, 4, 24)
    keys, values = attention.keys_values(x)
    assert keys.shape == values.shape == (2, 4, heads, 24 // heads)
    assert torch.equal(values.flatten(2), attention.to_v(x))
