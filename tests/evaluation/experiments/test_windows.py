"""Figure 7: which windows are compared, what they cost, and what true takes score."""

import dataclasses
from pathlib import Path

import pytest
import torch

from longlive.evaluation.experiments import windows
from longlive.evaluation.experiments.windows import (
    _short_against_long,
    chunks_of,
    compare_windows,
    measure_cost,
    video_scores,
    window_choices,
)
from longlive.evaluation.trials import SingleScene
from longlive.models.bundle import ModelBundle
from longlive.storybook.world.drawing import FPS
from longlive.weights.loading import load_models
from tests.support.drawn_scenes import SCENE, draw

SINGLE = SingleScene(SCENE, "a red ball", 5)


@pytest.fixture(scope="module")
def noise(noise_folder: Path) -> ModelBundle:
    return load_models(noise_folder)


def test_windows_go_to_a_clip_and_leave_out_what_has_no_room_for_sink_and_chunk(noise: ModelBundle) -> None:
    choices = window_choices(noise.config)
    assert [c["window"] for c in choices if c["sink"] == 0] == [3, 6, 9, 12, 15, 18, 21]
    assert [c["window"] for c in choices if c["sink"] == 3] == [6, 9, 12, 15, 18, 21]
    without = dataclasses.replace(noise.config, sink=0)
    assert {choice["sink"] for choice in window_choices(without)} == {0, 3}


@pytest.mark.parametrize("seconds", [4, 20, 20.5, 60])
def test_a_video_is_as_long_as_asked_for_and_less_than_a_chunk_longer(
    noise: ModelBundle, seconds: float
) -> None:
    facts = noise.config
    frames = facts.num_frames(facts.chunk * chunks_of(facts, seconds))
    assert 0 <= frames - seconds * facts.fps < facts.chunk * facts.temporal_scale


def test_the_cache_grows_with_the_window_and_time_is_measured(noise: ModelBundle) -> None:
    small, large = (measure_cost(noise, SINGLE, {"window": w, "sink": 3}) for w in (6, 12))
    assert large["cache_bytes"] == 2 * small["cache_bytes"] > 0
    assert min(small["chunk_ms"], small["cpu_ms"]) > 0 and small["rss_bytes"] > 2**20


def test_a_true_video_scores_everything_and_one_that_turns_blue_does_not() -> None:
    steady = video_scores(draw(num_frames=9 + 6 * FPS), SINGLE)
    assert steady.pop("background_change") == 0 and min(steady.values()) > 97
    blue = draw(dataclasses.replace(SCENE, colour="blue"), 3 * FPS)
    turned = video_scores(torch.cat([draw(num_frames=9 + 3 * FPS), blue]), SINGLE)
    assert turned["all_at_the_end"] == 0 and turned["subject_colour"] < 60


def test_a_model_of_the_shortest_window_is_compared_too(noise: ModelBundle) -> None:
    rows = [{"window": w, "sink": s, "cpu_ms": w} for w, s in ((3, 0), (6, 0), (6, 3), (9, 3))]
    scores = [{"a": [float(i), 2.0 * i]} for i in range(4)]
    for own, short, gain in ((3, 6, 1.5), (6, 6, 1.5), (12, 9, 3.0)):
        found = _short_against_long(dataclasses.replace(noise.config, window=own), rows, scores)
        assert found["windows"] == found["cpu_ms"] == [short, 6]
        assert found["differences"]["a"]["value"] == gain


@pytest.mark.slow
def test_every_window_gets_its_figures(noise: ModelBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "LARGEST", 6)
    result = compare_windows(noise, num_prompts=1, seconds=3, seed=0, num_workers=1)
    assert [(row["window"], row["sink"]) for row in result["windows"]] == [(3, 0), (6, 0), (6, 3)]
    assert all(row["subject_consistency"]["n"] == 1 for row in (*result["windows"], result["ceiling"]))
    assert result["short_with_sink"]["windows"] == [6, 6]
