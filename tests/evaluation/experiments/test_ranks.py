"""Table A: what a rank tunes, and what it scores."""

from pathlib import Path

import pytest
from torch import nn

from longlive.errors import ConfigError
from longlive.evaluation.experiments import ranks
from longlive.evaluation.experiments.ranks import compare_ranks, trainable_parameters
from longlive.evaluation.statistics import share
from longlive.weights.loading import load_models


def test_a_rank_tunes_two_thin_matrices_of_every_linear_of_the_blocks(tiny_folder: Path) -> None:
    transformer = load_models(tiny_folder).transformer
    weights = [w for name, w in transformer.state_dict().items() if "blocks" in name and w.dim() == 2]
    assert len(weights) == 2 * 10
    assert trainable_parameters(transformer, "4") == 4 * sum(sum(weight.shape) for weight in weights)
    assert (
        trainable_parameters(transformer, "full")
        == nn.utils.parameters_to_vector(transformer.parameters()).numel()
    )
    assert trainable_parameters(transformer, "none") == 0


@pytest.mark.parametrize("rank", ["0", "-3", "many", "2.5"])
def test_a_rank_is_a_number_full_or_none(tiny_folder: Path, rank: str) -> None:
    with pytest.raises(ConfigError, match="'full' or 'none'"):
        trainable_parameters(load_models(tiny_folder).transformer, rank)


def test_a_wrong_rank_is_told_before_any_run_is_scored(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "evaluate_prompts", lambda *_, **__: pytest.fail("scored"))
    runs = {rank: load_models(tiny_folder) for rank in ("4", "many")}
    with pytest.raises(ConfigError, match="many"):
        compare_ranks(runs, num_prompts=10, seed=0, num_workers=1)


def test_shares_get_intervals(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = (*ranks.ATTRIBUTES, "one_subject")
    rows = {"score": dict.fromkeys(names, 0.8), "ceiling": dict.fromkeys(names, 1.0)}
    monkeypatch.setattr(
        ranks, "evaluate_prompts", lambda *_, **asked: {"before": rows, "after_soft": rows, "asked": asked}
    )
    runs = {rank: load_models(tiny_folder) for rank in ("4", "full")}
    found = compare_ranks(runs, num_prompts=10, seed=0, num_workers=1)["runs"]
    assert [run["rank"] for run in found] == ["4", "full"]
    assert found[0]["trainable_parameters"] < found[1]["trainable_parameters"]
    assert found[0]["after"]["action"] == share([True] * 8 + [False] * 2).times(100).as_json()
    assert found[0]["ceiling"]["before"]["one_subject"]["value"] == 100
