"""Captions name what is in a scene, in many ways."""

import numpy as np

from longlive.storybook.third_edition.world import phrases
from longlive.storybook.third_edition.world.captions import caption, plain_caption, turn_caption
from longlive.storybook.third_edition.world.scene import ATTRIBUTES, Scene

SCENE = Scene("castle", "dragon", "green", "dance", "rain", "night", "scarf")


def test_the_plain_caption_names_all_attributes() -> None:
    assert plain_caption(SCENE) == "a green dragon with a scarf dances at a castle in the rain at night"


def test_captions_vary() -> None:
    rng = np.random.default_rng(1)
    assert len({caption(SCENE, rng) for _ in range(50)}) > 45


def test_a_complete_caption_names_every_attribute() -> None:
    rng = np.random.default_rng(2)
    named = {
        "colour": phrases.COLOUR_WORDS["green"],
        "subject": phrases.SUBJECT_WORDS["dragon"],
        "place": phrases.PLACE_WORDS["castle"] + phrases.PLACE_NOUNS["castle"],
        "action": phrases.ACTION_WORDS["dance"] + phrases.ACTION_PARTICIPLES["dance"],
        "prop": ("scarf",),
        "weather": ("rain", "storm"),
        "light": ("night", "moon", "stars"),
    }
    for _ in range(100):
        text = caption(SCENE, rng, complete=True).lower()
        missing = [name for name, some in named.items() if not any(phrase in text for phrase in some)]
        assert not missing, text


def test_a_turn_may_name_only_the_change() -> None:
    rng = np.random.default_rng(3)
    bare = Scene("castle", "dragon", "green", "dance", "rain", "night")
    texts = [turn_caption(SCENE, bare, rng) for _ in range(40)]
    assert any("scarf" in text and "castle" not in text for text in texts)


def test_every_value_has_phrases() -> None:
    tables = {
        "colour": phrases.COLOUR_WORDS,
        "subject": phrases.SUBJECT_WORDS,
        "setting": phrases.PLACE_WORDS,
        "action": phrases.ACTION_WORDS,
        "weather": phrases.WEATHER_WORDS,
        "light": phrases.LIGHT_WORDS,
        "prop": phrases.PROP_WORDS,
    }
    assert {name: set(table) for name, table in tables.items()} == {
        name: set(values) for name, values in ATTRIBUTES.items()
    }
