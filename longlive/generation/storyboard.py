"""A storyboard: which prompt begins at which second; from the command line, a JSON file, or LongLive's JSONL.

{"prompts": [{"at": 0, "text": "a red ball stands"},
             {"at": 5, "text": "a red ball jumps", "switch": "hard"}]}
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longlive.chunks import SWITCH_MODES, FrameChunk, SwitchMode
from longlive.errors import ConfigError
from longlive.generation.session import Session

SUFFIXES = (".json", ".jsonl")
MOST_SCENES = 1000
LATEST_S = 86_400


@dataclass(frozen=True)
class Scene:
    """A prompt, and when it is to begin.

    Attributes:
        at: seconds since the start; it takes effect at the first chunk boundary not before.
        text: the prompt.
        switch: how the story goes over to it; None for the session's default.
    """

    at: float
    text: str
    switch: SwitchMode | None = None


def play(session: Session, scenes: Iterable[Scene], seconds: float) -> Iterator[FrameChunk]:
    """The chunks of a session until ``seconds`` are full, each scene at its time.

    Two scenes that are due at the same boundary get a chunk each, in order.

    Raises:
        ConfigError: if ``seconds`` is not above 0.
    """
    if not seconds > 0:
        raise ConfigError("seconds", seconds, "a video must be longer than 0 seconds", "Try 10.")
    waiting = sorted(scenes, key=lambda scene: scene.at)
    while session.seconds < seconds:
        while waiting and waiting[0].at <= session.seconds:
            scene = waiting.pop(0)
            session.set_prompt(scene.text, scene.switch, queue=True)
        yield session.next_chunk()


def read_storyboard(path: str | Path, *, switch_every: float = 10.0, line: int = 0) -> list[Scene]:
    """The scenes of a file, in order; the first begins at 0.

    Args:
        path: JSON, or JSONL with one story per line.
        switch_every: seconds between prompts that carry no time of their own.
        line: which line of a JSONL file.

    Raises:
        ConfigError: when the file is missing, or is not a storyboard.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            text = [row for row in text.splitlines() if row.strip()][line]
        return read_scenes(json.loads(text)["prompts"], switch_every=switch_every)
    except OSError as error:
        raise ConfigError(
            "storyboard", str(path), f"it cannot be read ({error})", "Check the name."
        ) from error
    except IndexError as error:
        raise ConfigError("line", line, f"{path} has fewer lines", "Lines are counted from 0.") from error
    except (ValueError, TypeError, KeyError) as error:
        rule = f"it must hold {{'prompts': [{{'at': seconds, 'text': …}}, …]}} ({error!r})"
        raise ConfigError("storyboard", str(path), rule, "Correct the file.") from error


def read_scenes(prompts: Any, *, switch_every: float = 10.0) -> list[Scene]:
    """The scenes of a storyboard's ``prompts``, in order; the first begins at 0.

    Args:
        prompts: a list of texts, or of ``{"at": seconds, "text": …, "switch": "soft" | "hard" | "keep"}``,
            where ``at`` and ``switch`` may be left out.
        switch_every: seconds between prompts that carry no time of their own.

    Raises:
        ConfigError: naming the entry that cannot be read.
    """
    if not isinstance(prompts, list) or not 0 < len(prompts) <= MOST_SCENES:
        rule = f"it must be a list of 1 to {MOST_SCENES} prompts"
        raise ConfigError("prompts", prompts, rule, 'Try [{"at": 0, "text": "a red ball"}].')
    scenes = [_scene(number, prompt, number * switch_every) for number, prompt in enumerate(prompts)]
    scenes.sort(key=lambda scene: scene.at)
    if scenes[0].at != 0:
        raise ConfigError("at", scenes[0].at, "the first prompt must be at 0 seconds", "Begin at 0.")
    return scenes


def _scene(number: int, prompt: Any, default_at: float) -> Scene:
    if isinstance(prompt, str):
        return Scene(default_at, prompt)
    if not isinstance(prompt, dict) or not isinstance(prompt.get("text"), str):
        rule = 'it must hold a text and may hold "at" and "switch"'
        raise ConfigError(f"prompts[{number}]", prompt, rule, 'Try {"at": 0, "text": "a red ball"}.')
    at, switch = prompt.get("at", default_at), prompt.get("switch")
    if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at <= LATEST_S:
        raise ConfigError(
            f"prompts[{number}].at", at, f"it must be seconds from 0 to {LATEST_S}", "Correct it."
        )
    if switch is not None and switch not in SWITCH_MODES:
        raise ConfigError(
            f"prompts[{number}].switch", switch, f"it must be one of {SWITCH_MODES}", "Correct it."
        )
    return Scene(float(at), prompt["text"], switch)
