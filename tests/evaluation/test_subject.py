"""The subject is seen where it was drawn, as it was drawn, and not where there is none."""

import dataclasses

import numpy as np
import pytest
import torch

from longlive.evaluation.subject import hue_distance, look
from longlive.storybook.world.drawing import HEIGHT, RADIUS, WALK_SPEED, WIDTH, Scene, backdrop_of
from tests.support.drawn_takes import SCENE, draw


@pytest.mark.parametrize("x", [WIDTH / 2, 20.0, 0.0])
def test_it_is_seen_where_it_was_drawn(x: float) -> None:
    sight = look(draw(x=x))
    assert sight.seen == 1 and sight.shape == "ball"
    assert np.abs((sight.x - x + WIDTH / 2) % WIDTH - WIDTH / 2).max() < 1
    assert np.pi * RADIUS**2 * 0.9 < sight.area.min() <= sight.area.max() < np.pi * RADIUS**2 * 1.3


def test_a_walk_over_the_side_goes_on_evenly() -> None:
    sight = look(draw(dataclasses.replace(SCENE, action="right"), 40, x=WIDTH - 20.0))
    assert np.diff(sight.x).max() < 2 * WALK_SPEED and sight.x[-1] - sight.x[0] > 35 * WALK_SPEED


def test_a_single_stray_picture_does_not_count_but_a_move_that_lasts_does() -> None:
    stray = draw()
    stray[10] = draw(num_frames=1, x=20.0)[0]
    assert np.abs(np.diff(look(stray).x)).max() < 1
    moved = torch.cat([draw(num_frames=12), draw(num_frames=12, x=20.0)])
    assert np.abs(np.diff(look(moved).x)).max() > WIDTH / 2 - 21


def test_two_colours_are_at_least_the_smallest_distance_apart_and_one_is_near_itself() -> None:
    red, other, orange = (
        look(draw(scene)).hue
        for scene in (
            SCENE,
            Scene("meadow", "cube", "red", "spin"),
            dataclasses.replace(SCENE, colour="orange"),
        )
    )
    assert (
        np.linalg.norm(red - other)
        < 0.1 * hue_distance()
        < 0.9 * hue_distance()
        < np.linalg.norm(red - orange)
    )


def test_what_it_covers_is_known_with_its_edge() -> None:
    covered = look(draw()).covered
    assert covered[: HEIGHT // 4].sum() == 0 and covered.any(0).sum() >= 2 * RADIUS + 4


def test_an_empty_setting_shows_no_subject() -> None:
    empty = (backdrop_of(SCENE) * 255).round().to(torch.uint8).expand(12, -1, -1, -1)
    sight = look(empty)
    assert (sight.seen, sight.shape, len(sight.x), int(sight.covered.sum())) == (0, "", 0, 0)
