"""Reads off a prompt which attributes of a scene it names, by the phrases that captions are made of."""

import re
from collections.abc import Iterator
from functools import lru_cache

from longlive.storybook.world import captions

_TABLES = {
    "setting": (captions.PLACE_WORDS, captions.PLACE_NOUNS),
    "shape": (captions.SHAPE_WORDS,),
    "colour": (captions.COLOUR_WORDS,),
    "action": (
        captions.ACTION_WORDS,
        captions.ACTION_PARTICIPLES,
        {"right": (*captions.VAGUE_WALK, "walking")},
    ),
    "weather": (captions.WEATHER_WORDS, captions.WEATHER_NOUNS),
}


def read_prompt(text: str) -> dict[str, str]:
    """The values that a prompt names, by attribute: setting, shape, colour, action, weather.

    The longest phrases count first, and no word counts twice: the green of ``on a green meadow`` is not the
    subject's. Attributes that are not named are absent.
    """
    words: list[str | None] = list(re.findall(r"[^\W\d_]+", text.lower()))
    walks_left = "left" in words
    found: dict[str, str] = {}
    for phrase, attribute, value in _phrases():
        place = next((i for i in range(len(words)) if tuple(words[i : i + len(phrase)]) == phrase), None)
        if place is not None:
            words[place : place + len(phrase)] = [None] * len(phrase)
            found.setdefault(attribute, value)
    if walks_left and found.get("action") == "right":
        found["action"] = "left"
    return found


@lru_cache(maxsize=1)
def _phrases() -> tuple[tuple[tuple[str, ...], str, str], ...]:
    """The words, attribute and value of each phrase, the longest first."""
    return tuple(sorted(_all_phrases(), key=lambda one: -len(one[0])))


def _all_phrases() -> Iterator[tuple[tuple[str, ...], str, str]]:
    for attribute, tables in _TABLES.items():
        for table in tables:
            for value, phrases in table.items():
                for phrase in phrases:
                    yield tuple(phrase.split()), attribute, value
