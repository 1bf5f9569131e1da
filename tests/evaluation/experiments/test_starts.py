"""Videos that begin with a picture are scored beside those that begin with their prompt alone."""

import numpy as np
import pytest
import torch
from torch import Tensor

from longlive.evaluation.experiments import starts
from longlive.evaluation.experiments.starts import STARTS, compare_starts
from longlive.evaluation.trials import draw_single_scenes
from longlive.storybook.world.oracle import Reading
from longlive.weights.loading import load_models


@pytest.mark.slow
def test_each_video_is_made_from_its_own_start_and_scored_against_its_scene(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models, (single,) = load_models("storybook"), draw_single_scenes(1, 4)
    begun, seen = [], []
    session = starts.Session

    def begin(*arguments, start, **options):
        begun.append(None if start is None else start.shape)
        return session(*arguments, start=start, **options)

    def note(pictures: Tensor) -> Reading:
        seen.append(pictures)
        is_right = len(seen) == 3
        colour = single.scene.colour if is_right else "none"
        scene = single.scene
        return Reading(scene.setting, scene.shape, colour, scene.action, scene.weather, is_right)

    monkeypatch.setattr(starts, "NUM_CHUNKS", 5)
    monkeypatch.setattr(starts, "Session", begin)
    monkeypatch.setattr(starts, "read", note)
    rows = compare_starts(models, num_prompts=1, seed=4, num_workers=1)["starts"]
    assert begun == [None, (1, 80, 128, 3), (60, 80, 128, 3)]
    assert [row["start"] for row in rows] == list(STARTS)
    assert all(pictures.shape[1:] == (3, 80, 128) for pictures in seen)
    assert not torch.equal(seen[0], seen[1])
    assert [row["colour"]["value"] for row in rows] == [0, 0, 100]
    assert [row["one_subject"]["value"] for row in rows] == [0, 0, 100]
    assert [row["setting"]["value"] for row in rows] == [100] * 3


def test_the_drawn_starts_are_the_scene_s() -> None:
    (single,) = draw_single_scenes(1, 4)
    still, again = starts._drawn(single.scene, 1, 3), starts._drawn(single.scene, 1, 3)
    assert np.array_equal(still, again) and still.dtype == np.uint8
