"""A storyboard: which prompt begins at which second; from the command line, a JSON file, or LongLive's JSONL.

{"prompts": [{"at": 0, "text": "a red ball stands"},
             {"at": 5, "text": "a red ball jumps", "switch": "hard"}]}
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from longlive.chunks import FrameChunk, SwitchMode
from longlive.errors import ConfigError
from longlive.session import Session

SUFFIXES = (".json", ".jsonl")


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
        prompts = json.loads(text)["prompts"]
        scenes = [_scene(prompt, index * switch_every) for index, prompt in enumerate(prompts)]
    except OSError as error:
        raise ConfigError(
            "storyboard", str(path), f"it cannot be read ({error})", "Check the name."
        ) from error
    except IndexError as error:
        raise ConfigError("line", line, f"{path} has fewer lines", "Lines are counted from 0.") from error
    except (ValueError, TypeError, KeyError) as error:
        rule = f"it must hold {{'prompts': [{{'at': seconds, 'text': …}}, …]}} ({error!r})"
        raise ConfigError("storyboard", str(path), rule, "Correct the file.") from error
    scenes.sort(key=lambda scene: scene.at)
    if not scenes or scenes[0].at != 0:
        raise ConfigError(
            "storyboard", str(path), "its first prompt must be at 0 seconds", "Correct the file."
        )
    return scenes


def _scene(prompt: Any, at: float) -> Scene:
    if isinstance(prompt, str):
        return Scene(at, prompt)
    switch = prompt.get("switch")
    if switch is not None and switch not in get_args(SwitchMode):
        raise ValueError(f"switch is {switch!r}, not one of {get_args(SwitchMode)}")
    return Scene(float(prompt.get("at", at)), str(prompt["text"]), switch)
