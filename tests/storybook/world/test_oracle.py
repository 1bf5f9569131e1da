"""The oracle reads true pictures right, and says so when there is nothing or too much to see."""

import numpy as np
import pytest
import torch

from longlive.storybook.world.drawing import (
    ACTIONS,
    COLOURS,
    SETTINGS,
    SHAPES,
    Scene,
    backdrop_of,
    draw_story,
    random_scene,
)
from longlive.storybook.world.oracle import read, read_colours


def draw(scene: Scene, num_frames: int = 40, x: float = 48.0) -> torch.Tensor:
    return draw_story([(scene, num_frames)], np.random.default_rng(0), start_x=x)


@pytest.mark.parametrize("action", ACTIONS)
def test_it_reads_every_action(action: str):
    assert read(draw(Scene("meadow", "cube", "blue", action))).action == action


@pytest.mark.parametrize("shape", SHAPES)
def test_it_reads_every_shape_even_spinning(shape: str):
    assert read(draw(Scene("beach", shape, "red", "stand"))).shape == shape
    assert read(draw(Scene("desert", shape, "purple", "spin"))).shape == shape


@pytest.mark.parametrize("colour", COLOURS)
def test_it_reads_every_colour_in_light_and_dark(colour: str):
    for setting in SETTINGS:
        reading = read(draw(Scene(setting, "ball", colour, "stand"), 10))
        assert (reading.setting, reading.colour) == (setting, colour)


def test_it_is_right_about_random_scenes_almost_always():
    rng = np.random.default_rng(1)
    scenes = [random_scene(rng) for _ in range(25)]
    right = [read(draw_story([(scene, 45)], rng)[9:]).attributes == scene.attributes for scene in scenes]
    assert np.mean(right) >= 0.92


def test_it_counts_two_subjects():
    scene = Scene("snow", "ball", "red", "stand")
    twice = torch.cat([draw(scene, 12, 24.0)[..., :48], draw(scene, 12, 72.0)[..., 48:]], -1)
    assert read(draw(scene, 12)).has_one_subject
    assert not read(twice).has_one_subject


def test_it_does_not_count_a_subject_at_the_edge_twice():
    assert read(draw(Scene("snow", "ball", "red", "stand"), 12, x=0.0)).has_one_subject


def test_it_sees_no_subject_in_an_empty_setting():
    empty = draw(Scene("night", "ball", "red", "stand"), 12)
    empty[:] = empty[:, :, :, :1]
    reading = read(empty)
    assert not reading.has_one_subject or reading.shape == ""


def test_it_reads_the_colour_of_each_picture_also_where_it_changes():
    scenes = [(Scene("beach", "cube", "yellow", "stand"), 12), (Scene("beach", "cube", "blue", "jump"), 24)]
    colours = read_colours(draw_story(scenes, np.random.default_rng(0)))
    assert colours[:12] == ["yellow"] * 12 and colours[24:] == ["blue"] * 12
    empty = (backdrop_of(scenes[0][0]) * 255).expand(12, -1, -1, -1)
    assert read_colours(empty) == [""] * 12
