"""Prompts for training: text and JSONL files, checked when read, and drawn by seed and index.

* text, as in VidProM: a prompt per line, UTF-8; a second file of as many lines holds the next prompts.
* JSONL: ``{"prompts": ["first", "second", …]}`` or ``{"prompt": "first", "next": "second"}`` per line.
* JSON: one such object, a storyboard.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from longlive.errors import ConfigError, PromptError, reason_of
from longlive.files import has_suffix, read_lines, read_utf8
from longlive.generation.noise import check_seed
from longlive.prompts import check_prompt, prompts_of_row

ROWS = (".jsonl", ".json")
"""Suffixes of files of JSON objects: one per line, or one in the whole file."""
MAX_FAULTS_SHOWN = 3


@dataclass(frozen=True)
class PromptPair:
    """A prompt, and the one that a sequence may switch to."""

    prompt: str
    next_prompt: str


class Prompts(Protocol):
    """A source of prompts, without state: seed and index determine the prompt."""

    def prompt_at(self, seed: int, index: int) -> str:
        """The prompt of sample ``index`` (0, 1, …) of the run ``seed``."""
        ...

    def pair_at(self, seed: int, index: int) -> PromptPair:
        """The same prompt, with the one to switch to."""
        ...


@dataclass(frozen=True)
class ListedPrompts:
    """Prompts of a list, each once per epoch, in an order that depends on seed and epoch alone.

    Attributes:
        prompts: at least one.
        next_prompts: the one to switch to for each, or none at all.

    Raises:
        ConfigError: if there are no prompts, or another number of next prompts.
    """

    prompts: Sequence[str]
    next_prompts: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.prompts or len(self.next_prompts) not in (0, len(self.prompts)):
            counts = f"{len(self.prompts)} prompts, {len(self.next_prompts)} next prompts"
            raise ConfigError("prompts", counts, "there must be some, and as many next ones", "Add some.")

    @classmethod
    def read(cls, first: str | Path, second: str | Path | None = None) -> "ListedPrompts":
        """The prompts of a text file alone, or the pairs of two text files or of one JSONL file."""
        if second is None and not has_suffix(first, *ROWS):
            return cls(read_prompts(first))
        pairs = read_prompt_pairs(first, second)
        return cls([pair.prompt for pair in pairs], [pair.next_prompt for pair in pairs])

    def prompt_at(self, seed: int, index: int) -> str:
        """The prompt of sample ``index`` (0, 1, …; epochs follow one another) of the run ``seed``."""
        return self.prompts[self._place(seed, index)]

    def pair_at(self, seed: int, index: int) -> PromptPair:
        """The same prompt, with the one to switch to; a ConfigError if the list has none."""
        if not self.next_prompts:
            rule = "a prompt switch needs a next prompt for each"
            raise ConfigError(
                "next prompts", None, rule, "Write them with `python -m longlive prompts switch`."
            )
        place = self._place(seed, index)
        return PromptPair(self.prompts[place], self.next_prompts[place])

    def _place(self, seed: int, index: int) -> int:
        check_seed(seed)
        check_seed(index, "index")
        epoch, offset = divmod(index, len(self.prompts))
        return int(_permutation(len(self.prompts), seed, epoch)[offset])


@lru_cache(maxsize=4)
def _permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of 0 … count - 1, int64; its counter is never that of ``draw_noise``."""
    philox = np.random.Philox(
        key=np.array([seed, epoch], np.uint64), counter=np.array([0, 0, 0, 1], np.uint64)
    )
    return np.argsort(philox.random_raw(count), kind="stable")


def read_prompts(path: str | Path) -> list[str]:
    """Every prompt of a text or JSONL file, in order; blank lines are skipped.

    Raises:
        ConfigError: if the file is missing.
        PromptError: if it is empty, or has invalid lines (not UTF-8, too long, no JSON, …); names them.
    """
    return [text for _, prompts in _read_lines(Path(path)) for text in prompts]


def read_prompt_pairs(first: str | Path, second: str | Path | None = None) -> list[PromptPair]:
    """The pairs of two text files, line by line, or of consecutive prompts in the rows of a JSONL file.

    Args:
        first: the prompts, or JSONL.
        second: the next prompts: as many lines, blank where ``first`` is.

    Raises:
        ConfigError: if a file is missing, or ``second`` is (or is not) needed.
        PromptError: as for ``read_prompts``; or if the lines of two files do not match.
    """
    first = Path(first)
    if has_suffix(first, *ROWS) == (second is not None):
        rule = "text needs a second file of as many lines, and JSONL (which holds both) none"
        raise ConfigError(
            "next prompts", second, f"{first} came first; {rule}", "Give two text files, or one JSONL."
        )
    if second is None:
        pairs = [PromptPair(*pair) for _, prompts in _read_lines(first) for pair in pairwise(prompts)]
        if not pairs:
            raise PromptError(
                f"{first} holds no two prompts in one line. Use {{'prompts': [first, second]}}."
            )
        return pairs
    left, right = dict(_read_lines(first)), dict(_read_lines(Path(second)))
    lonely = left.keys() ^ right.keys()
    if lonely:
        raise PromptError(
            f"{first} has {len(left)} prompts and {second} has {len(right)}, but they must match "
            f"line by line: line {min(lonely)} is in one file only. Add what is missing, or remove the other."
        )
    return [PromptPair(left[number][0], right[number][0]) for number in left]


def _read_lines(path: Path) -> list[tuple[int, list[str]]]:
    """(line number from 1, prompts) of each line that is not blank; a JSON file counts as one."""
    try:
        lines = [read_utf8(path)] if has_suffix(path, ".json") else read_lines(path)
    except (OSError, UnicodeDecodeError) as error:
        rule = f"it cannot be read: {reason_of(error)}"
        raise ConfigError("prompts", str(path), rule, "Check the name, and save it as UTF-8.") from error
    rows, faults = [], []
    for number, line in enumerate(lines, start=1):
        try:
            prompts = list(_prompts_of(line, has_suffix(path, *ROWS)))
        except PromptError as error:
            faults.append(f"Line {number}: {error}")
            continue
        if prompts:
            rows.append((number, prompts))
    if faults:
        shown = " ".join(faults[:MAX_FAULTS_SHOWN]) + (" …" if len(faults) > MAX_FAULTS_SHOWN else "")
        raise PromptError(f"{path}: {len(faults)} of {len(lines)} lines cannot be used. {shown}")
    if not rows:
        raise PromptError(f"{path} holds no prompts. Write one per line.")
    return rows


def _prompts_of(line: bytes, is_json: bool) -> Iterator[str]:
    """The checked prompts of one line: none if it is blank."""
    try:
        text = line.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise PromptError(f"It is not UTF-8 (byte {error.start}). Save the file as UTF-8.") from error
    for prompt in _prompts_of_row(text) if is_json and text else [text]:
        # Plain printable text needs no further check: a quarter of a million lines are read in seconds.
        if len(prompt) > 1000 or "&" in prompt or not prompt.isprintable():
            check_prompt(prompt)
        if prompt:
            yield prompt


def _prompts_of_row(text: str) -> list[str]:
    """The texts of a JSON object's prompts; the times of a storyboard are left out."""
    prompts: list[Any] = [row.get("text") if isinstance(row, dict) else row for row in prompts_of_row(text)]
    if not all(isinstance(prompt, str) and prompt.strip() for prompt in prompts):
        raise PromptError(f"Its prompts must be texts, but {str(prompts)[:60]} came.")
    return [prompt.strip() for prompt in prompts]
