"""What a prompt asks for, read by the vocabulary alone: captions, and a hundred free phrasings."""

import json
from pathlib import Path

import numpy as np

from longlive.storybook.third_edition.reader import known_words, read_prompt, words_of
from longlive.storybook.third_edition.world.captions import caption
from longlive.storybook.third_edition.world.scene import ATTRIBUTES, random_scene

PHRASINGS = Path(__file__).parent / "data/free_phrasings.jsonl"
UNNAMED = {"weather": "clear", "light": "day", "prop": "none"}


def phrasings() -> list[dict[str, str]]:
    return [json.loads(line) for line in PHRASINGS.read_text().splitlines()]


def share_understood(**how: object) -> float:
    """Share of the phrasings of which exactly what they ask for is read."""
    right = [
        read_prompt(one["text"], **how) == {k: one[k] for k in ATTRIBUTES if k in one} for one in phrasings()
    ]  # type: ignore[arg-type]
    return float(np.mean(right))


def test_the_phrasings_are_a_hundred_and_not_what_captions_say() -> None:
    assert len({one["text"] for one in phrasings()}) == 100
    known = set(known_words())
    plain = [one["text"] for one in phrasings() if set(words_of(one["text"])) <= known]
    assert len(plain) <= 3, "nearly all have a word that no caption has"
    for one in phrasings():
        assert all(one[name] in ATTRIBUTES[name] for name in one if name != "text")
    assert {name for one in phrasings() for name in one} == {"text", *ATTRIBUTES}


def test_nearest_words_make_most_phrasings_understood() -> None:
    assert share_understood(nearest=lambda word: None) < 0.15
    assert share_understood() >= 0.65


def test_a_caption_is_read_back() -> None:
    rng, right = np.random.default_rng(3), 0
    for _ in range(100):
        scene = random_scene(rng)
        read = UNNAMED | read_prompt(caption(scene, rng, complete=True))
        right += read == {name: getattr(scene, name) for name in ATTRIBUTES}
    assert right >= 95


def test_a_colour_belongs_to_the_subject_and_not_to_the_prop() -> None:
    assert read_prompt("a dog with a red balloon that is blue") == {
        "subject": "dog",
        "colour": "blue",
        "prop": "balloon",
    }
    assert read_prompt("the hat is gone. snow!") == {"weather": "snow", "prop": "none"}
