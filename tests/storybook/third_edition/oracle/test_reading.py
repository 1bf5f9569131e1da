"""The oracle reads drawn pictures right, also blurred ones, and says when there is nothing or too much."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from longlive.storybook.third_edition.oracle.reading import read
from longlive.storybook.third_edition.world.drawing import draw_stories
from longlive.storybook.third_edition.world.scene import ATTRIBUTES, Scene, random_scene, sensible

CAT = Scene("meadow", "cat", "orange", "stand")


def draw(*scenes: Scene, num_pictures: int = 24) -> torch.Tensor:
    """uint8 (F, 3, 160, 256) of the last of some scenes, 12 pictures after it began."""
    story = [(scene, 24) for scene in scenes[:-1]] + [(scenes[-1], 12 + num_pictures)]
    return (draw_stories([story])[0, -num_pictures:] * 255).round().to(torch.uint8)


@pytest.mark.parametrize("number", range(9))
@pytest.mark.slow
def test_every_value_of_every_attribute_is_read(number: int) -> None:
    values = {name: some[(number + 2) % len(some)] for name, some in ATTRIBUTES.items()}
    scene = sensible(Scene(**values))
    reading = read(draw(scene))
    assert reading.attributes == scene.attributes
    assert reading.has_one_subject


@pytest.mark.slow
def test_random_scenes_are_read_also_blurred() -> None:
    rng = np.random.default_rng(5)
    for _ in range(2):
        scene = random_scene(rng)
        pictures = draw(scene)
        assert read(pictures).attributes == scene.attributes
        small = F.avg_pool2d(pictures.float(), 4)
        blurred = F.interpolate(small, scale_factor=4, mode="bilinear")
        assert read(blurred).attributes[1:4] == scene.attributes[1:4], "subject, colour and action"


@pytest.mark.slow
def test_a_turn_is_read_after_it_and_not_before() -> None:
    with_hat = replace(CAT, prop="hat", action="dance")
    assert read(draw(CAT, with_hat)).attributes == with_hat.attributes
    assert read(draw(CAT)).prop == "none"


def test_no_subject_and_two_subjects_are_noticed() -> None:
    pictures = draw(CAT, num_pictures=12)
    empty = pictures.clone()
    empty[..., 40:216] = empty[..., 36:40].repeat(1, 1, 1, 44)
    assert not read(empty).has_one_subject
    twice = pictures.clone()
    twice[..., 156:256] = pictures[..., 78:178]
    assert not read(twice).has_one_subject
    assert read(pictures).has_one_subject
