"""The next prompt for each prompt, written by a language model and checked.

The rules are those of the paper's data (section 4): the next scene adds one new action or object and keeps
everything else, so that a model learns to switch prompts within one shot. The output is JSONL with one row
per prompt, keyed by its digest, so that an interrupted run can be resumed.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from longlive.errors import ConfigError, reason_of
from longlive.files import atomic_write, read_lines, read_utf8
from longlive.training.data.chat_models import ChatModel, Messages

MIN_WORDS, MAX_WORDS, SLACK = 80, 100, 10
MIN_NEW_WORDS = 3
SUBJECT_WORDS, SUBJECT_SHARE = 8, 0.5
LATIN_SHARE, ENGLISH_SHARE = 0.97, 0.12

RULES = f"""You continue descriptions of video shots. You are given the description of one shot, and you
describe the same shot a few seconds later.

* Exactly one thing is new: the main subject begins one new action, or one new object enters.
* Everything else stays, and is described again, in the same words where you can: who or what the subject is,
  its looks and clothes, the place, the light, the style, the camera.
* What is new can be seen, and can follow at once from what went before, without a cut.
* The description stands alone: never say "now", "then", "still", "next", or that there was an earlier shot.
* One paragraph in English, of {MIN_WORDS} to {MAX_WORDS} words; if the given one is shorter, describe
  more of what it already implies. No heading, no list, no quotation marks, no remark before or after."""

META = re.compile(
    r"sure\b|certainly|of course|okay|ok\b|here('s| is| are)\b|next (scene|shot|prompt)|as an ai|i'm |i can"
    r"|i am (sorry|unable)|sorry|(scene|shot|prompt|description)\s*\d*:|\*\*",
    re.IGNORECASE,
)
ROW_START = b'{"source": "'
QUOTES = tuple("\"'“”‘«`")
LIST = re.compile(r"^\s*([-*•#]|\d+[.)])\s")
THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)
FREQUENT = frozenset(
    re.findall(
        r"\w+",
        "a an the and or but of in on at to from by with into over under through as is are was its his her "
        "their he she it they that this while which who for up down out",
    )
)


@dataclass(frozen=True)
class Summary:
    """Numbers of prompts of a run.

    Attributes:
        prompts: distinct ones in the input.
        duplicates: further copies in the input.
        done_before: written or rejected by an earlier run.
        written, rejected: by this run.
    """

    prompts: int
    duplicates: int
    done_before: int
    written: int
    rejected: int


def write_next_scenes(
    prompts: Sequence[str],
    out: Path,
    writer: ChatModel,
    *,
    tries: int = 3,
    parallel: int = 1,
    progress: Callable[[int], object] = bool,
) -> Summary:
    """Ask for the next scene of every prompt that has none yet, and write each answer at once.

    Args:
        prompts: duplicates are skipped.
        out: JSONL, ``{"source": digest, "prompt": …, "next": …}``; ``rejected_file(out)`` gets the others.
        writer: the language model.
        tries: answers per prompt before it is rejected.
        parallel: concurrent requests; 1 for a ``LocalChat``.
        progress: called with the number of further prompts that are done.

    Raises:
        EndpointError: if the endpoint fails; what was written stays, and the next run resumes from it.
        ConfigError: if a file cannot be written, or is in another format.
    """
    for name, value in (("--tries", tries), ("--parallel", parallel)):
        if value < 1:
            raise ConfigError(name, value, "it must be at least 1", "Try 3.")
    asked = {prompt_digest(prompt): prompt for prompt in prompts}
    accepted, rejected = SceneFile(out), SceneFile(rejected_file(out))
    done = (accepted.sources | rejected.sources) & asked.keys()
    waiting = [(source, prompt) for source, prompt in asked.items() if source not in done]
    counts = {True: 0, False: 0}
    progress(len(done))
    with ThreadPoolExecutor(parallel) as pool:
        for first in range(0, len(waiting), parallel):
            some = waiting[first : first + parallel]
            answers = [
                pool.submit(next_scene, prompt, writer, int(source, 16), tries) for source, prompt in some
            ]
            wait(answers)
            for (source, prompt), answer in zip(some, answers, strict=True):
                if answer.exception() is None:
                    text, fault = answer.result()
                    row = {"source": source, "prompt": prompt}
                    if fault is None:
                        accepted.append(row | {"next": text})
                    else:
                        rejected.append(row | {"reason": fault, "answer": text})
                    counts[fault is None] += 1
                    progress(1)
            for answer in answers:
                answer.result()
    return Summary(len(asked), len(prompts) - len(asked), len(done), counts[True], counts[False])


def next_scene(prompt: str, writer: ChatModel, seed: int, tries: int) -> tuple[str, str | None]:
    """The next scene and None; or the last of ``tries`` answers and its fault."""
    ask: Messages = [{"role": "user", "content": f"{RULES}\n\nThe shot:\n{prompt}"}]
    text, fault = "", None
    for number in range(tries):
        again: Messages = []
        if fault:
            complaint = f"That cannot be used, since {fault}. Write it again, by all the rules."
            again = [{"role": "assistant", "content": text}, {"role": "user", "content": complaint}]
        text = THOUGHTS.sub("", writer.answer(ask + again, (seed + number) % 2**31)).strip()
        fault = fault_of(prompt, text)
        if fault is None:
            break
    return text, fault


def fault_of(source: str, text: str) -> str | None:
    """Why ``text`` cannot be the scene after ``source``; None if it can."""
    words, count = _words(text), len(text.split())
    letters = [char for char in text if char.isalpha()]
    subject = [word for word in _words(source) if word not in FREQUENT][:SUBJECT_WORDS]
    is_english = (
        _share(char.isascii() for char in letters) >= LATIN_SHARE
        and _share(word in FREQUENT for word in words) >= ENGLISH_SHARE
    )
    faults = {
        "it is empty": not letters,
        "it talks about itself instead of the shot": bool(META.match(text)),
        "it is a list": bool(LIST.match(text)),
        "it has more than one paragraph": "\n" in text,
        "it stands in quotation marks": text[:1] in QUOTES,
        "it is not in English": not is_english,
        f"it has {count} words, not {MIN_WORDS} to {MAX_WORDS}": not (
            MIN_WORDS - SLACK <= count <= MAX_WORDS + SLACK
        ),
        "nothing in it is new": len({*words} - {*_words(source)}) < MIN_NEW_WORDS,
        "it is about something else": _share(word in words for word in subject) < SUBJECT_SHARE,
    }
    return next((reason for reason, is_so in faults.items() if is_so), None)


class SceneFile:
    """A JSONL file of complete rows, however a run ended."""

    def __init__(self, path: Path) -> None:
        """Open or create the file; a partial row at its end (of a killed run) is cut off.

        Rows that an editor saved in another way (UTF-16, other line ends, blank lines, no last line end) are
        all kept; the file becomes UTF-8 with one row a line, so that rows can be appended.

        Raises:
            ConfigError: if it cannot be written, or holds other rows.
        """
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            if not path.is_file():
                raise OSError("it is not a regular file")
            rows = _whole_rows(path)
            self.sources = {str(json.loads(row)["source"]) for row in rows}
            whole = b"".join(row + b"\n" for row in rows)
            if path.read_bytes() != whole:
                with atomic_write(path) as part:
                    part.write_bytes(whole)
        except OSError as error:
            raise _unwritable(path, error) from error
        except (ValueError, LookupError, TypeError) as error:
            rule = f"it exists and holds other things than scenes: {reason_of(error)}"
            raise ConfigError("OUT", str(path), rule, "Give another name.") from error

    def append(self, row: dict[str, str]) -> None:
        """Append a row, whose first key is ``source``; ConfigError, and no row, if the disk is full."""
        size = self._path.stat().st_size
        try:
            with self._path.open("ab") as file:
                file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        except OSError as error:
            os.truncate(self._path, size)
            raise _unwritable(self._path, error) from error
        self.sources.add(row["source"])


def _whole_rows(path: Path) -> list[bytes]:
    """The lines of a file, without blank ones and without the beginning of a row at its end."""
    rows = [line for line in read_lines(path) if line.strip()]
    is_ended = read_utf8(path)[-1:] in (b"\n", b"\r")
    if rows and not is_ended and (rows[-1].startswith(ROW_START) or ROW_START.startswith(rows[-1])):
        try:
            json.loads(rows[-1])
        except ValueError:
            return rows[:-1]
    return rows


def rejected_file(out: Path) -> Path:
    """The file of prompts without a usable answer; delete it to try them again."""
    return out.with_suffix(".rejected.jsonl")


def prompt_digest(prompt: str) -> str:
    """The first 16 hexadecimal digits of a prompt's SHA-256."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:16]


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        "OUT", str(path), f"it cannot be written ({reason_of(error)})", "Make room, or try another place."
    )


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", text.lower())


def _share(flags: Iterable[bool]) -> float:
    """Share of true flags, in [0, 1]; 1 if there are none."""
    flags = list(flags)
    return sum(flags) / len(flags) if flags else 1.0
