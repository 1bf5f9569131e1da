"""Which scenes make sense, and which are kept from training."""

import numpy as np

from longlive.storybook.third_edition.world.scene import (
    ATTRIBUTES,
    Scene,
    is_held_out,
    random_scene,
    random_turn,
    sensible,
)


def test_there_is_no_weather_where_there_is_no_sky() -> None:
    scene = sensible(Scene("space", "cat", "red", "stand", "rain", "night"))
    assert (scene.weather, scene.light) == ("clear", "day")
    assert sensible(Scene("city", "cat", "red", "stand", "rain", "night")).weather == "rain"


def test_a_tenth_of_the_scenes_is_held_out_and_never_drawn() -> None:
    rng = np.random.default_rng(0)
    drawn = [random_scene(rng) for _ in range(200)]
    assert not any(is_held_out(scene) or is_held_out(random_turn(scene, rng)) for scene in drawn)
    assert is_held_out(random_scene(rng, held_out=True))
    anyhow = [
        Scene(**{name: str(rng.choice(values)) for name, values in ATTRIBUTES.items()}) for _ in range(2000)
    ]
    assert 0.07 < np.mean([is_held_out(scene) for scene in anyhow]) < 0.13


def test_a_turn_changes_something_and_mostly_one_thing() -> None:
    rng = np.random.default_rng(1)
    scene = Scene("meadow", "cat", "red", "jump", prop="hat")
    turns = [random_turn(scene, rng) for _ in range(200)]
    changes = [
        sum(one != other for one, other in zip(scene.attributes, turn.attributes, strict=True))
        for turn in turns
    ]
    assert min(changes) == 1 and 0.85 < np.mean(np.array(changes) == 1) < 1
