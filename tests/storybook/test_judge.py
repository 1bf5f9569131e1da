"""What a prompt names, and how much of it the oracle sees in drawn pictures."""

from dataclasses import replace

import numpy as np
import pytest

from longlive.storybook.judge import judge, judge_of
from longlive.storybook.prompt_reader import read_prompt
from longlive.storybook.world.captions import caption, plain_caption
from longlive.storybook.world.drawing import Scene, draw_story, random_scene
from longlive.weights.registry import config_of
from tests.support.fakes import tiny_config

BALL = Scene("meadow", "ball", "red", "jump")


def pictures(scene: Scene, count: int = 24) -> np.ndarray:
    return draw_story([(scene, count)], np.random.default_rng(3)).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("A red ball stands on a green meadow.", ("red", "ball", "stand", "meadow", None)),
        ("a green ball in a field", ("green", "ball", None, "meadow", None)),
        ("now it jumps!", (None, None, "jump", None, None)),
        ("the kitten strolls slowly to the left", (None, "cat", "left", None, None)),
        ("a Violet orb, hovering, in winter, snowfall", ("purple", "ball", "float", "snow", "snow")),
        ("a cube that grows and shrinks while it rains", (None, "cube", "pulse", None, "rain")),
        ("<b>nothing</b> that anybody knows", (None,) * 5),
        ("", (None,) * 5),
    ],
)
def test_a_prompt_names_what_its_phrases_say(text: str, named: tuple[str | None, ...]) -> None:
    names = ("colour", "shape", "action", "setting", "weather")
    assert read_prompt(text) == {name: value for name, value in zip(names, named, strict=True) if value}


def test_every_caption_of_a_scene_is_read_as_it_was_meant() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        scene = random_scene(rng)
        text = caption(scene, rng, complete=True)
        found = read_prompt(text)
        assert {name: getattr(scene, name) for name in found} == found, text
        assert {"setting", "shape", "colour", "action"} <= found.keys(), text


def test_true_pictures_fit_their_prompt_and_others_as_far_as_they_agree() -> None:
    assert judge(plain_caption(BALL), pictures(BALL)) == 1
    assert judge("a red ball", pictures(replace(BALL, setting="snow", action="stand"))) == 1
    assert judge(plain_caption(BALL), pictures(replace(BALL, colour="blue"))) == 0.75
    assert judge(plain_caption(BALL), pictures(Scene("night", "star", "yellow", "stand"))) == 0
    assert judge(plain_caption(BALL), np.zeros((12, 80, 128, 3), np.uint8)) == 0


def test_a_prompt_that_names_nothing_is_not_judged() -> None:
    assert judge("something lovely", pictures(BALL, 12)) is None


def test_only_the_storybook_has_a_judge() -> None:
    assert judge_of(config_of("storybook")) is judge
    assert judge_of(config_of("longlive-1.3b")) is None
    assert judge_of(tiny_config()) is None
    assert judge_of(replace(config_of("storybook"), height=160)) is None, "pictures of another world"
