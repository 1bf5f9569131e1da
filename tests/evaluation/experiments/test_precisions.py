"""Table B: what each precision takes, and how near it stays."""

from pathlib import Path

import pytest
import torch

from longlive.errors import ConfigError
from longlive.evaluation.experiments.precisions import compare_precisions, psnr


def test_each_precision_is_set_against_the_first(tiny_folder: Path) -> None:
    sizes = {"num_prompts": 2, "num_chunks": 2, "seed": 0}
    first, half, rounded = compare_precisions(str(tiny_folder), ["float32", "bfloat16", "int8"], **sizes)[
        "precisions"
    ]
    assert [row["precision"] for row in (first, half, rounded)] == ["float32", "bfloat16", "int8"]
    assert first["speed_up"] == 1.0
    assert (first["psnr_first"]["value"], first["psnr_last"]["n"]) == (200.0, 2)
    assert 2 * half["weight_bytes"] == first["weight_bytes"] > rounded["weight_bytes"]
    for row in (half, rounded):
        assert 20 < row["psnr_first"]["value"] < 80
        assert row["speed_up"] == pytest.approx(first["pass_ms"] / row["pass_ms"], abs=1e-3)
    assert "before" not in first, "the oracle knows the storybook's world alone"


def test_noise_of_a_hundredth_of_the_range_is_40_db() -> None:
    exact = torch.tensor([0.0, 1.0])
    assert psnr(exact + 0.01, exact) == pytest.approx(40.0, abs=1e-4)
    assert psnr(exact, exact) == 200.0


def test_an_unknown_precision_is_told_before_anything_is_loaded() -> None:
    with pytest.raises(ConfigError, match="int4"):
        compare_precisions("no such model", ["float32", "int4"], num_prompts=5, num_chunks=1, seed=0)
