"""Drift: windows of ten seconds, and what changes from the first to the last."""

import dataclasses
from pathlib import Path

import pytest
import torch

from longlive.evaluation.experiments import drift
from longlive.evaluation.experiments.drift import (
    _split,
    _summary,
    measure_drift,
    picture_statistics,
    window_scores,
)
from longlive.evaluation.stream import BatchStream
from longlive.evaluation.subject import observe_subject
from longlive.evaluation.trials import SingleScene
from longlive.evaluation.videos import network, pixels
from longlive.storybook.world.drawing import FPS
from longlive.weights.loading import load_models
from tests.support.drawn_scenes import SCENE, draw

SINGLE = SingleScene(SCENE, "a red ball", 5)


def test_a_true_window_scores_everything_and_a_changed_one_what_is_left() -> None:
    pictures = draw(num_frames=80)
    first = pictures[:FPS], observe_subject(pictures[:32])
    whole = window_scores(pictures, SINGLE, *first)
    assert whole["background_change"] == 0 and whole["subject_consistency"] > 99
    assert whole["all_attributes"] == whole["one_subject"] == whole["setting"] == 100
    blue = draw(dataclasses.replace(SCENE, colour="blue"), 40)
    half = window_scores(torch.cat([pictures[:40], blue]), SINGLE, *first)
    assert (half["colour"], half["all_attributes"], half["shape"]) == (50, 50, 100)
    assert {name for name in whole if name.startswith(("pixel_", "network_"))} == {
        *pixels.NAMES,
        network.NAME,
    }
    other = window_scores(torch.cat([pictures[:16], blue]), SINGLE, *first)
    assert other[network.NAME] < whole[network.NAME] - 1 and whole[network.NAME] <= 100


def test_parts_follow_each_other_without_gaps(noise_folder: Path) -> None:
    models = load_models(noise_folder)
    with torch.no_grad():
        cut = list(_split(BatchStream(models, [SINGLE.prompt], [5]), [20, 32, 12]))
        whole = BatchStream(models, [SINGLE.prompt], [5]).next_pictures(7)
    assert [clip.shape[1] for clip in cut] == [20, 32, 12]
    assert torch.equal(torch.cat(cut, 1), whole[:, 9 : 9 + 64])


def test_drift_is_the_last_window_less_the_first_by_story() -> None:
    stories = [[{"a": 10.0}, {"a": 90.0}, {"a": 15.0}], [{"a": 70.0}, {"a": 0.0}, {"a": 75.0}]]
    summary = _summary(stories)
    assert [window["a"]["value"] for window in summary["windows"]] == [40, 45, 45]
    assert [window["from"] for window in summary["windows"]] == [0, 10, 20]
    assert summary["drift"]["a"] == {"value": 5, "ci_low": 5, "ci_high": 5, "n": 2}


def test_an_interval_is_wilsons_for_shares_alone() -> None:
    (window,) = _summary([[{"shape": 100.0, "pixel_flicker": 0.0}]] * 4)["windows"]
    assert window["shape"]["ci_low"] == pytest.approx(51.0, abs=0.1)
    assert window["pixel_flicker"]["ci_high"] == 0


def test_statistics_of_known_pictures() -> None:
    white, black = (
        torch.full((1, 3, 8, 8), 255, dtype=torch.uint8),
        torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
    )
    flat = picture_statistics(torch.cat([white, white]))
    assert flat == pytest.approx(
        {"brightness": 100, "contrast": 0, "saturation": 0, "sharpness": 0, "flicker": 0}
    )
    assert picture_statistics(torch.cat([white, black]))["flicker"] == pytest.approx(100)
    red = black.clone()
    red[:, 0] = 255
    assert picture_statistics(red.expand(2, -1, -1, -1))["saturation"] == pytest.approx(100)
    stripes = black.clone()
    stripes[..., ::2] = 255
    assert picture_statistics(stripes.expand(2, -1, -1, -1))["sharpness"] == pytest.approx(50)


@pytest.mark.slow
def test_every_model_runs_with_and_without_a_sink_and_stories_stay_with_their_runs(
    noise_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "WINDOW_SECONDS", 2)
    models = {"before": load_models(noise_folder)}
    result = measure_drift(models, num_prompts=1, seconds=4, seed=0, num_workers=1)
    assert [(run["model"], run["sink"]) for run in result["runs"]] == [("before", 3), ("before", 0)]
    assert [len(run["windows"]) for run in result["runs"]] == [2, 2]
    assert result["runs"][0]["windows"][1] != result["runs"][1]["windows"][1]
