"""Captions say what the scene is, in many ways."""

import numpy as np

from longlive.storybook.world.captions import (
    ACTION_PARTICIPLES,
    ACTION_WORDS,
    COLOUR_WORDS,
    PLACE_NOUNS,
    PLACE_WORDS,
    SHAPE_WORDS,
    brief_caption,
    caption,
    known_words,
    plain_caption,
)
from longlive.storybook.world.drawing import ACTIONS, COLOURS, SETTINGS, SHAPES, Scene, random_scene


def test_every_attribute_of_the_world_has_words():
    assert set(SHAPE_WORDS) == set(SHAPES)
    assert set(COLOUR_WORDS) == set(COLOURS)
    assert set(PLACE_WORDS) == set(PLACE_NOUNS) == set(SETTINGS)
    assert set(ACTION_WORDS) == set(ACTION_PARTICIPLES) == set(ACTIONS)


def test_no_phrase_means_two_things():
    for table in (COLOUR_WORDS, SHAPE_WORDS, PLACE_WORDS, PLACE_NOUNS, ACTION_WORDS, ACTION_PARTICIPLES):
        owners = [(phrase, key) for key, phrases in table.items() for phrase in set(phrases)]
        assert len({phrase for phrase, _ in owners}) == len(owners)


def test_a_complete_caption_names_every_attribute():
    rng = np.random.default_rng(0)
    for _ in range(200):
        scene = random_scene(rng)
        text = caption(scene, rng, complete=True).lower()
        tables = [
            COLOUR_WORDS[scene.colour],
            SHAPE_WORDS[scene.shape],
            PLACE_WORDS[scene.setting] + PLACE_NOUNS[scene.setting],
            ACTION_WORDS[scene.action] + ACTION_PARTICIPLES[scene.action],
        ]
        for phrases in tables:
            assert any(phrase in text for phrase in phrases), (scene, text)


def test_captions_vary_and_are_never_empty():
    rng = np.random.default_rng(0)
    scene = Scene("meadow", "ball", "red", "jump")
    texts = [caption(scene, rng) for _ in range(200)] + [brief_caption(scene, rng) for _ in range(50)]
    assert len(set(texts)) > 150
    assert all(text.strip() for text in texts)


def test_plain_captions_use_known_words_only():
    words = set(known_words())
    for scene in [Scene(s, h, c, a) for s in SETTINGS for h in SHAPES for c in COLOURS for a in ACTIONS]:
        assert set(plain_caption(scene).split()) <= words
    assert "dragon" not in words
