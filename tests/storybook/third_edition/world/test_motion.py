"""Poses are continuous over a turn, and the camera follows the subject."""

import numpy as np
import pytest

from longlive.storybook.third_edition.world.motion import build_timeline, compute_poses, compute_scroll
from longlive.storybook.third_edition.world.scene import ACTIONS, Scene


@pytest.mark.parametrize("first", ACTIONS)
@pytest.mark.parametrize("then", ["stand", "spin", "jump"])
def test_no_pose_leaps_at_a_turn(first: str, then: str) -> None:
    story = [(Scene("meadow", "cat", "red", first), 33), (Scene("meadow", "cat", "red", then), 36)]
    pose = compute_poses(build_timeline([story]))
    turns = pose.angle[0] / (2 * np.pi)
    assert (turns.diff() - turns.diff().round()).abs().max() < 0.16
    for name in ("lift", "lean", "squash", "facing", "arm_left", "arm_right"):
        assert getattr(pose, name)[0].diff().abs().max() < 0.5, name


def test_the_camera_follows_and_a_new_setting_starts_at_its_beginning() -> None:
    story = [(Scene("meadow", "cat", "red", "right"), 20), (Scene("beach", "cat", "red", "stand"), 20)]
    timeline = build_timeline([story])
    scroll, scroll_before = compute_scroll(timeline, compute_poses(timeline).speed)
    assert scroll[0, 19] > 0.3
    assert scroll[0, 20] < 0.05
    assert scroll_before[0, 20] >= scroll[0, 19]


def test_stories_of_different_lengths_are_refused() -> None:
    cat = Scene("meadow", "cat", "orange", "stand")
    with pytest.raises(ValueError, match="same length"):
        build_timeline([[(cat, 5)], [(cat, 6)]])
