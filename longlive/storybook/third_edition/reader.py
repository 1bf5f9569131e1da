"""Reads the attributes off a prompt by the vocabulary alone, without a network: what its words ask for.

Phrases of the captions are looked for, the longest first, with up to two other words between theirs. A word
that no phrase has counts as the nearest one that they have.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from longlive.storybook.nearest_words import nearest_word, stem
from longlive.storybook.third_edition.world import phrases as p
from longlive.storybook.third_edition.world.scene import ATTRIBUTES

GAP = 2
"""Other words that may stand between two words of a phrase."""
_SKIPPED_WORDS = "a an the is it its his her he she they this that who are be and then now"
_SKIPPED = frozenset(_SKIPPED_WORDS.split())
_TABLES: dict[str, tuple[p.Phrases, ...]] = {
    "setting": (p.PLACE_WORDS, p.PLACE_NOUNS),
    "subject": (p.SUBJECT_WORDS,),
    "colour": (p.COLOUR_WORDS,),
    "action": (p.ACTION_WORDS, p.ACTION_PARTICIPLES, {"right": p.VAGUE_WALK}),
    "weather": (p.WEATHER_WORDS, p.WEATHER_NOUNS, p.WEATHER_CHANGES),
    "light": (p.LIGHT_WORDS, p.LIGHT_NOUNS, p.LIGHT_CHANGES),
    "prop": (p.PROP_WORDS, p.PROP_NOUNS, p.PROP_VERBS, {"none": p.WITHOUT}),
}
_GONE = ("off {}", "{} off", "{} gone", "without {}", "no {}", "remove {}", "{} away")
"""What also says that a prop is taken away."""
_LEADING_WORDS = "in on at by with under near among between to as while when for from next front of"
_LEADING = frozenset(_LEADING_WORDS.split())


@dataclass(frozen=True)
class Entry:
    """A phrase that asks for a value of an attribute: the stems of its words, in order."""

    stems: tuple[str, ...]
    attribute: str
    value: str
    weight: float


def read_prompt(text: str, nearest: Callable[[str], str | None] | None = None) -> dict[str, str]:
    """The values that a prompt names, by attribute; those that it does not name are absent.

    Args:
        text: as people write it.
        nearest: the known word for one that is not known; None for ``nearest_known_word``.
    """
    find = nearest or nearest_known_word
    stems = [_known_stem(word, find) for word in words_of(text) if word not in _SKIPPED]
    matches = sorted(_matches(stems), key=lambda match: (-match[0].weight, match[1][0]))
    used: set[int] = set()
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for entry, places in matches:
        if not used.intersection(places):
            used.update(places)
            found[entry.attribute].append((places[-1], entry.value))
    subject_at = found["subject"][0][0] if found["subject"] else len(stems)
    values = {name: some[0][1] for name, some in found.items() if some}
    if found["colour"]:
        values["colour"] = min(found["colour"], key=lambda one: abs(one[0] - subject_at))[1]
    return {name: values[name] for name in ATTRIBUTES if name in values}


def words_of(text: str) -> list[str]:
    """The words of a text in lower case; parts of a word with a hyphen are words."""
    return re.findall(r"[^\W\d_]+", text.lower().replace("'s ", " "))


def nearest_known_word(word: str) -> str | None:
    """The word of this world's captions that is nearest to one which they do not have."""
    return nearest_word(word, known_words())


@lru_cache(maxsize=1)
def known_words() -> tuple[str, ...]:
    """Every word that captions are made of, sorted."""
    lists = [phrases for tables in _TABLES.values() for table in tables for phrases in table.values()]
    lists += [*p.DROP_VERBS.values(), p.ADJECTIVES, p.OPENINGS, p.ENDINGS, p.ANYONE]
    lists += [("turns into becomes there has gets while still of with together",), tuple(_SKIPPED)]
    return tuple(sorted({word for phrases in lists for phrase in phrases for word in words_of(phrase)}))


@lru_cache(maxsize=1)
def _known_stems() -> frozenset[str]:
    return frozenset(stem(word) for word in known_words())


def _known_stem(word: str, nearest: Callable[[str], str | None]) -> str:
    """The stem of a word, or of the nearest known one; its own stem if none is near."""
    if stem(word) not in _known_stems():
        word = nearest(word) or word
    return stem(word)


@lru_cache(maxsize=1)
def _entries() -> tuple[Entry, ...]:
    """All phrases, and what is left of them without a leading preposition if only one value has it."""
    whole: dict[tuple[str, ...], tuple[str, str]] = {}
    shorter: dict[tuple[str, ...], set[tuple[str, str]]] = defaultdict(set)
    for attribute, value, phrase in _phrases():
        stems = tuple(stem(word) for word in words_of(phrase) if word not in _SKIPPED)
        if stems:
            whole.setdefault(stems, (attribute, value))
        rest = list(stems)
        while rest and rest[0] in _LEADING:
            rest.pop(0)
        if rest:
            shorter[tuple(rest)].add((attribute, value))
    entries = [Entry(stems, *owner, float(len(stems))) for stems, owner in whole.items()]
    for stems, owners in shorter.items():
        if stems not in whole and len(owners) == 1:
            entries.append(Entry(stems, *next(iter(owners)), len(stems) - 0.5))
    return tuple(entries)


def _phrases() -> Iterator[tuple[str, str, str]]:
    for attribute, tables in _TABLES.items():
        for table in tables:
            for value, phrases in table.items():
                yield from ((attribute, value, phrase) for phrase in phrases)
    for prop, phrases in p.DROP_VERBS.items():
        yield from (("prop", "none", phrase) for phrase in phrases)
        yield from (("prop", "none", form.format(prop)) for form in _GONE)


def _matches(stems: list[str]) -> Iterator[tuple[Entry, tuple[int, ...]]]:
    """Every place where an entry's words stand in order, close together."""
    at: dict[str, list[int]] = defaultdict(list)
    for place, word in enumerate(stems):
        at[word].append(place)
    for entry in _entries():
        for first in at.get(entry.stems[0], ()):
            places = [first]
            for word in entry.stems[1:]:
                after = next((place for place in at.get(word, ()) if 0 < place - places[-1] <= GAP + 1), None)
                if after is None:
                    break
                places.append(after)
            if len(places) == len(entry.stems):
                yield entry, tuple(places)
