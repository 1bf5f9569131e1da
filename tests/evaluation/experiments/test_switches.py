"""Table 4: what is asked for, what true pictures score, and what the paper's order would look like."""

import dataclasses

import numpy as np
import pytest
import torch

from longlive.evaluation.experiments import switches
from longlive.evaluation.experiments.switches import (
    SHOWN_SECONDS,
    STRATEGIES,
    _order,
    compare_strategies,
    measure,
    picture_strips,
)
from longlive.evaluation.statistics import Estimate
from longlive.evaluation.trials import CHANGES, Trial, changed_attributes
from longlive.storybook.world.drawing import Scene, draw_story
from longlive.weights.loading import load_models
from tests.support.drawn_scenes import MIDDLE, SCENE, draw

JUMPS = dataclasses.replace(SCENE, action="jump")
TRIAL = Trial(SCENE, JUMPS, "", "")


def pictures_of(turned: Scene, x: float = MIDDLE) -> tuple[torch.Tensor, torch.Tensor]:
    pictures = draw_story([(SCENE, 24), (turned, 72)], np.random.default_rng(0), start_x=x)
    return pictures[:24], pictures[24:]


def test_true_pictures_score_everything() -> None:
    scores = measure(*pictures_of(JUMPS), TRIAL)
    assert scores.pop("background_change") == 0
    assert min(scores.values()) > 97 and len(scores) == 8


def test_the_old_action_is_not_obedience() -> None:
    scores = measure(*pictures_of(SCENE), TRIAL)
    assert scores["obeyed_within_2.25s"] == scores["obeyed_after"] == scores["all_after"] == 0
    assert scores["subject_consistency"] > 99


def test_what_was_to_be_kept_counts_in_all_and_not_in_obeyed() -> None:
    blue = dataclasses.replace(JUMPS, colour="blue")
    scores = measure(*pictures_of(blue), TRIAL)
    assert (scores["obeyed_after"], scores["all_after"]) == (100, 0)


def test_a_late_answer_counts_only_in_the_segment_after() -> None:
    before, after = pictures_of(JUMPS)
    late = torch.cat([draw(num_frames=36), after[:36]])
    scores = measure(before, late, TRIAL)
    assert (scores["obeyed_within_2.25s"], scores["obeyed_after"]) == (0, 100)


def test_a_cut_to_another_place_costs_consistency() -> None:
    before, _ = pictures_of(JUMPS)
    _, elsewhere = pictures_of(JUMPS, x=MIDDLE - 40)
    scores = measure(before, elsewhere, TRIAL)
    assert (
        scores["subject_place"] == 0 and scores["subject_consistency"] < 76 and scores["obeyed_after"] == 100
    )


def test_scores_of_what_is_meant_to_change_are_left_out() -> None:
    beach = dataclasses.replace(JUMPS, setting="beach")
    scores = measure(*pictures_of(beach), Trial(SCENE, beach, "", ""))
    assert set(scores) == {"obeyed_within_2.25s", "obeyed_after", "all_after"}
    blue = dataclasses.replace(JUMPS, colour="blue")
    scores = measure(*pictures_of(blue), Trial(SCENE, blue, "", ""))
    assert "background_change" in scores and "subject_consistency" not in scores


def test_the_order_holds_only_without_overlap() -> None:
    def row(value: float) -> dict[str, Estimate]:
        names = ("obeyed_within_2.25s", "obeyed_after", "subject_consistency", "background_consistency")
        return {name: Estimate(value, value - 2, value + 2, 9) for name in names}

    order = _order({"recache": row(90), "keep_cache": row(50), "no_cache": row(87)})
    assert [claim for claim, holds in order.items() if holds] == [
        "recache above keep_cache in obeyed_within_2.25s",
        "recache above keep_cache in obeyed_after",
    ]


@pytest.mark.slow
def test_the_strips_part_at_the_switch() -> None:
    trial, strips = picture_strips(load_models("storybook"), seed=1)
    assert changed_attributes(trial) == ("colour", "action") and list(strips) == list(STRATEGIES)
    cut, keep, recache = strips.values()
    for first, second in ((cut, keep), (keep, recache), (cut, recache)):
        before = sum(seconds < 0 for seconds in SHOWN_SECONDS)
        assert torch.equal(first[:before], second[:before]) and not torch.equal(first, second)


@pytest.mark.slow
def test_the_strategies_of_the_embedded_model_differ_as_the_paper_says(monkeypatch) -> None:
    """One trial of each kind of change, in two batches."""
    monkeypatch.setattr(switches, "BATCH", 3)
    models = load_models("storybook")
    result = compare_strategies(models, num_prompts=len(CHANGES), seed=0, num_workers=1)
    obeyed = {name: row["obeyed_after"]["value"] for name, row in result["strategies"].items()}
    place = {name: row["subject_place"]["value"] for name, row in result["strategies"].items()}
    assert obeyed["recache"] >= 80 and obeyed["recache"] >= obeyed["keep_cache"] + 20
    assert place["recache"] > place["no_cache"] + 10
    assert result["ceiling"]["subject_place"]["value"] > 95
