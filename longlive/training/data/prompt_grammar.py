"""Stories of several prompts each, written by a grammar of subjects, places, actions, light and camera.

The grammar is a file, ``assets/prompts/grammar.toml``; the README beside it says how it is read. All prompts
of a story share their subject, place, light and camera word for word. Each prompt after the first has one
new action; what the actions before left behind (a posture, a thing) stays until an action ends it.
"""

import json
import random
import re
import string
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

from longlive.errors import ConfigError
from longlive.weights.registry import ASSETS

GRAMMAR = ASSETS / "prompts" / "grammar.toml"
MOST_TRIES = 300
PLACE_FACTS = ("place", "family", "facts", "details", "steps")

Entry = Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Story:
    """One line of the set.

    Attributes:
        subject: who it is about, as every prompt says it.
        place: where, as every prompt says it.
        prompts: in order.
    """

    subject: str
    place: str
    prompts: tuple[str, ...]


class Dice:
    """Choices that a seed decides, the same in every Python: only ``random()`` is promised to stay."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def pick(self, items: Sequence[T]) -> T:
        """One of at least one item."""
        return items[int(self._random.random() * len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """All items in another order."""
        return [item for _, item in sorted((self._random.random(), item) for item in items)]


def write_prompt_set(out: Path, *, seed: int | None = None, grammar: Path = GRAMMAR) -> list[Story]:
    """Write the stories as JSONL, a line each; an older file stays as it is until the new one is whole.

    Args:
        out: the file.
        seed: of the choices; the grammar's own by default.
        grammar: TOML.

    Raises:
        ConfigError: when the grammar cannot be read, or has no such story; or ``out`` cannot be written.
    """
    rules = read_grammar(grammar)
    try:
        stories = write_stories(rules, rules["seed"] if seed is None else seed)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        rule = f"an entry lacks something, or has another type than it must ({error!r})"
        raise ConfigError(
            "grammar", str(grammar), rule, "Compare it with assets/prompts/grammar.toml."
        ) from error
    lines = [json.dumps(vars(story), ensure_ascii=False) + "\n" for story in stories]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = out.with_suffix(".tmp")
        beside.write_text("".join(lines), encoding="utf-8", newline="\n")
        beside.replace(out)
    except OSError as error:
        raise ConfigError(
            "--out", str(out), f"it cannot be written ({error})", "Try another place."
        ) from error
    return stories


def read_grammar(path: Path) -> dict[str, Any]:
    """The grammar's tables; ConfigError when it is missing or no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            "grammar", str(path), f"it cannot be read ({error})", "Correct the file."
        ) from error


def write_stories(rules: Entry, seed: int) -> list[Story]:
    """All stories of a grammar, in an order of the seed; no subject comes twice in one place or one clothing.

    Raises:
        ConfigError: when no story of a place keeps to the number of words.
    """
    dice = Dice(seed)
    stories: list[Story] = []
    told: Counter[str] = Counter()
    for family, count in rules["families"].items():
        places = [place for place in rules["places"] if family in place["family"]]
        for number in range(count):
            stories.append(_new_story(rules, family, places[number % len(places)], dice, stories, told))
    return [stories[index] for index in dice.shuffled(range(len(stories)))]


def _new_story(
    rules: Entry, family: str, place: Entry, dice: Dice, before: Sequence[Story], told: Counter[str]
) -> Story:
    """A story whose subject has not been seen in this place, nor (for people) in these clothes anywhere."""
    seen = {(story.subject, story.place) for story in before}
    dressed = set() if family == "animals" else {story.subject for story in before}
    for _ in range(MOST_TRIES):
        telling = _Telling(rules, family, place, dice, told)
        story = telling.story()
        if story and (story.subject, story.place) not in seen and story.subject not in dressed:
            told.update(telling.told)
            return story
    low, high = rules["words"]
    rule = f"no new story of {low} to {high} words a prompt was found in {MOST_TRIES} tries"
    raise ConfigError("place", place["place"], rule, "Give it more actions, subjects or details.")


class _Telling:
    """One try at a story: what is chosen once, and the facts that change from prompt to prompt."""

    def __init__(
        self, rules: Entry, family: str, place: Entry, dice: Dice, told_before: Mapping[str, int]
    ) -> None:
        self.rules, self.place, self.dice = rules, place, dice
        self.told_before, self.told = told_before, list[str]()
        self.facts = {*place["facts"], "standing", "free"}
        self.light = dice.pick(_fitting(rules["lights"], self.facts))
        self.facts |= {*self.light.get("gives", [])}
        self.is_animal = family == "animals"
        self.actor = self._fresh(
            _fitting(rules["animals" if self.is_animal else "people"], self.facts), "look"
        )
        self.facts |= {*self.actor["facts"], "animal" if self.is_animal else "person"}
        self.camera, self.layout = dice.pick(rules["cameras"]), dice.pick(rules["layouts"])
        self.words: dict[str, str] = dict(rules["pronouns"][self.actor.get("pronoun", "it")])
        self.subject = f"{self.actor['who']} {self.actor['look']}"
        if self.is_animal:
            self.words["call"] = self.actor["call"]
        else:
            outfit = dice.pick(_fitting(rules["outfits"], self.facts))
            self.subject += f", {outfit['text']},"
            self.words["garment"] = outfit["garment"]
        for slot in [key for key in place if key not in PLACE_FACTS]:
            thing, *others = dice.shuffled(place[slot])
            self.words |= {slot: thing, f"the_{slot}": re.sub("^(a|an|the) ", "the ", thing)}
            self.words |= {f"other_{slot}": other for other in others}

    def story(self) -> Story | None:
        """The story; None if it comes to an end too early, or its prompts are too long or too short."""
        count = self.rules["prompts"]
        actions = list(self._steps(count) if "steps" in self.place else self._actions(count))
        low, high = self.rules["words"]
        for size in reversed(range(len(self.place["details"]) + 1)):
            for details in self.dice.shuffled([*combinations(self.place["details"], size)]):
                prompts = self._prompts(actions, details)
                if len(actions) == count and all(low <= len(prompt.split()) <= high for prompt in prompts):
                    return Story(self.subject.rstrip(","), self.place["place"], prompts)
        return None

    def _steps(self, count: int) -> Iterator[str]:
        """Some steps of a craft, in their order."""
        kept = sorted(self.dice.shuffled(range(len(self.place["steps"])))[:count])
        for index in kept:
            yield self._sentence(self.place["steps"][index], [])

    def _actions(self, count: int) -> Iterator[str]:
        """Actions that the facts allow, each once; an establishing one first."""
        left = [action for action in self.rules["actions"] if _slots(action["text"]) <= self.words.keys()]
        for number in range(count):
            facts = self.facts | {"start"} if number == 0 else self.facts
            fitting = [
                action for action in _fitting(left, facts) if ("start" in action["needs"]) == (number == 0)
            ]
            if not fitting:
                return
            action = self._fresh(fitting, "text")
            left.remove(action)
            ended = {*action.get("drops", [])}
            yield self._sentence(action["text"], self._what_stays({*action["needs"]}, ended))
            self.facts = self.facts - ended | {*action.get("gives", [])}

    def _fresh(self, entries: Sequence[Entry], name: str) -> Entry:
        """Of three picks, the one told least in the stories before, for its share."""
        picked = [self.dice.pick(entries) for _ in range(3)]
        entry = min(picked, key=lambda entry: self.told_before[entry[name]] / entry.get("share", 1))
        self.told.append(entry[name])
        return entry

    def _what_stays(self, named: set[str], ended: set[str]) -> list[str]:
        """The posture, and the things that the action itself does not name."""
        postures = [text for fact, text in self.rules["postures"].items() if fact in self.facts - ended]
        things = [text for fact, text in self.rules["things"].items() if fact in self.facts - ended - named]
        return postures + ([f"with {' and '.join(things)}"] if things else [])

    def _sentence(self, text: str, stays: list[str]) -> str:
        return _capital(", ".join([*stays, f"{self.actor['name']} {text}."])).format_map(self.words)

    def _prompts(self, actions: list[str], details: tuple[str, ...]) -> tuple[str, ...]:
        opening = f"{self.camera['shot']} {self.subject} {self.place['place']}."
        parts = {"opening": opening, "details": " ".join(details)}
        parts |= {"light": self.light["text"], "camera": self.camera["text"]}
        filled = {name: text.format_map(self.words) for name, text in parts.items()}
        return tuple(" ".join(self.layout.format(action=action, **filled).split()) for action in actions)


def _fitting(entries: Sequence[Entry], facts: set[str]) -> list[Entry]:
    """The entries whose needs are all among the facts."""
    return [entry for entry in entries if facts.issuperset(entry.get("needs", []))]


def _slots(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
