from pathlib import Path

import pytest
import torch

from longlive.benchmark.cost import count_costs
from longlive.errors import CheckpointError


@pytest.mark.slow
def test_the_released_model_is_counted_without_its_files() -> None:
    costs = count_costs("longlive-1.3b", dtype=torch.bfloat16)
    assert costs["parameters"] == 1_418_996_800, "the released file has 5.676 GB in float32"
    assert costs["tokens_per_latent"] == 1560
    assert costs["kv_bytes"] == 2 * 30 * 12 * 1560 * 1536 * 2, (
        "keys and values, layers, window, tokens, width"
    )
    assert costs["flops_chunk"] == 4 * costs["flops_pass"] + costs["flops_remember"]
    assert costs["flops_pass"] <= 28.4e12 and costs["flops_chunk"] <= 141.5e12


def test_a_pass_costs_what_its_products_cost(tiny_folder: Path) -> None:
    """Counted by hand: 18 tokens per chunk, 72 visible, width 24, 12 text tokens, 2 layers."""
    tokens, seen, text, dim, ffn, layers = 18, 72, 12, 24, 48, 2
    products = (
        6 * dim * dim + 2 * dim * ffn
    )  # q, k, v, out; q, out of the cross-attention; the two of the ffn
    attention = 2 * dim * (seen + text)
    ends = tokens * dim * (16 + 16)
    time = 16 * dim + dim * dim + dim * 6 * dim
    expected = 2 * (layers * tokens * (products + attention) + ends + time)
    assert count_costs(str(tiny_folder))["flops_pass"] == expected


def test_the_window_and_the_dtype_change_memory_and_work(tiny_folder: Path) -> None:
    plain, small = count_costs(str(tiny_folder)), count_costs(str(tiny_folder), window=6)
    assert small["kv_bytes"] * 2 == plain["kv_bytes"]
    assert small["flops_pass"] < plain["flops_pass"]
    assert count_costs(str(tiny_folder), dtype=torch.float16)["kv_bytes"] * 2 == plain["kv_bytes"]


def test_a_missing_model_is_an_error_in_words() -> None:
    with pytest.raises(CheckpointError, match="There is no model"):
        count_costs("nothing")
