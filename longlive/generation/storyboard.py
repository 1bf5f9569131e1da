"""A storyboard: prompts and the seconds at which they begin; in JSON, or in LongLive's JSONL.

{"prompts": [{"at": 0, "text": "a red ball stands"},
             {"at": 5, "text": "a red ball jumps", "switch": "hard"}]}

A line of JSONL may also be ``{"prompt": …, "next": …}``, as ``prompts switch`` writes it.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from longlive.chunks import SWITCH_MODES, FrameChunk, SwitchMode
from longlive.config import ModelConfig
from longlive.errors import ConfigError, PromptError, SessionFileError, reason_of
from longlive.files import has_suffix, read_lines, read_text
from longlive.generation.session import Session
from longlive.generation.session_file import SessionRecord
from longlive.prompts import check_prompt, prompts_of_row

SUFFIXES = (".json", ".jsonl", ".txt")
MAX_SCENES = 1000
MAX_AT_S = 86_400


@dataclass(frozen=True)
class Scene:
    """A prompt, and when it is to begin.

    Attributes:
        at: seconds since the start; it takes effect at the first chunk boundary not before.
        text: the prompt; cleaned here, unless it is a PromptText already.
        switch: how the stream changes to it; None for the session's default.
    """

    at: float
    text: str
    switch: SwitchMode | None = None

    def __post_init__(self) -> None:
        """Clean the prompt; PromptError if it cannot be used."""
        object.__setattr__(self, "text", check_prompt(self.text))


def check_seconds(name: str, value: Any) -> float:
    """A length in seconds; ConfigError if it is no number above 0 and up to a day."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_AT_S:
        rule = f"it must be a number of seconds above 0 and at most {MAX_AT_S}"
        raise ConfigError(name, value, rule, "Try 10.")
    return float(value)


def check_time(name: str, value: Any) -> float:
    """The second at which a prompt begins; ConfigError if it is no number from 0 to a day."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_AT_S:
        raise ConfigError(name, value, f"it must be seconds from 0 to {MAX_AT_S}", "Correct it.")
    return float(value)


def storyboard_seconds(scenes: Sequence[Scene], switch_every: float) -> float:
    """The length that shows every scene: the last one is seen for ``switch_every`` seconds."""
    return max(scene.at for scene in scenes) + switch_every


def unreached_scenes(session: Session, scenes: Iterable[Scene], seconds: float) -> list[Scene]:
    """The scenes that ``play`` will not show, in order: their time, or their turn, comes after the end.

    Args:
        session: a new one.
        scenes, seconds: as for ``play``.
    """
    config, chunk = session.models.config, session.stream.chunk
    waiting = sorted(scenes, key=lambda scene: scene.at)
    num_frames, is_first = 0, True
    while num_frames < config.frames_until(seconds):
        is_due = not is_first and bool(waiting) and waiting[0].at <= num_frames / config.fps
        scene = waiting.pop(0) if is_due else None
        is_cut = scene is not None and (scene.switch or session.switch) == "hard"
        num_frames += config.num_frames(chunk) if is_first or is_cut else chunk * config.temporal_scale
        is_first = False
    return waiting


def play(session: Session, scenes: Iterable[Scene], seconds: float) -> Iterator[FrameChunk]:
    """Make the chunks of a session up to ``seconds`` of video, with each scene at its time.

    Of the last chunk come only the pictures up to ``seconds``. Two scenes that are due at the same boundary
    get a chunk each, in order.

    Raises:
        ConfigError: if ``seconds`` is not above 0, or is no length at all.
    """
    check_seconds("seconds", seconds)
    pending = sorted(scenes, key=lambda scene: scene.at)
    config = session.models.config
    end_frame = config.frames_until(seconds)
    while session.seconds < end_frame / config.fps:
        set_due_prompts(session, pending)
        yield session.next_chunk().until(end_frame)


def set_due_prompts(session: Session, pending: list[Scene]) -> None:
    """Give a session the scenes whose time has come, and take them out of ``pending``, which is in order."""
    while pending and pending[0].at <= session.seconds:
        scene = pending.pop(0)
        session.set_prompt(scene.text, scene.switch, queue=True)


def storyboard_of_record(record: SessionRecord, config: ModelConfig) -> tuple[list[Scene], float]:
    """The storyboard of a recorded video, to be made with another model: its prompts by seconds, its length.

    A cut stays a cut; every other prompt changes as the other model was made for. Which chunks the prompts
    fall on follows from that model, and so no digest of the record can be compared. Other seeds of branches
    are left out.

    Args:
        record: of the video.
        config: of the other model, by whose pictures per second the seconds are counted.

    Raises:
        SessionFileError: if it has no chunks, or begins with a picture or a video.
    """
    if not record.chunks:
        raise SessionFileError("The session file has no chunks: there is nothing to make again.")
    if record.start is not None:
        raise SessionFileError(
            "The session begins with a picture or a video, which only its own model can read from the file. "
            "Generate a new video from the picture: generate --start FILE."
        )
    cuts = {event.chunk for event in record.prompts if event.switch == "hard"}
    latents, starts = record.stream.chunk, [0]
    for chunk in range(len(record.chunks)):
        is_first = chunk == 0 or chunk in cuts
        num_frames = config.num_frames(latents) if is_first else latents * config.temporal_scale
        starts.append(starts[-1] + num_frames)
    scenes = [
        Scene(starts[event.chunk] / config.fps, event.text, "hard" if event.switch == "hard" else None)
        for event in record.prompts
        if event.chunk < len(record.chunks)
    ]
    return scenes, (record.num_frames or starts[-1]) / config.fps


def read_storyboard(path: str | Path, *, switch_every: float = 10.0, line: int = 0) -> list[Scene]:
    """The scenes of a file, in order; the first begins at 0.

    Args:
        path: JSON; JSONL with one storyboard per line; or text with one prompt per line, for videos of a
            single scene.
        switch_every: seconds between prompts that carry no time of their own.
        line: which line of a JSONL or text file, counted from 0; blank ones do not count.

    Raises:
        ConfigError: if the file is missing, or is not a storyboard.
        PromptError: if a prompt is empty, too long, or holds control characters.
    """
    rows = _read_rows(path)
    if has_suffix(path, ".json"):
        line = 0
    elif not 0 <= line < len(rows):
        raise ConfigError("line", line, f"{path} has {len(rows)} lines", "Lines are counted from 0.")
    return _scenes_of(path, rows[line], switch_every)


def read_all_storyboards(path: str | Path) -> list[Scene]:
    """The scenes of every line of a JSONL or text file, or of a JSON file, one after another.

    Each line's times are its own. Arguments and errors as for ``read_storyboard``; an empty file is one.
    """
    rows = _read_rows(path)
    if not rows:
        raise ConfigError("storyboard", str(path), "it has no lines", "Write a prompt on each.")
    return [scene for row in rows for scene in _scenes_of(path, row)]


def _read_rows(path: str | Path) -> list[str]:
    """The storyboards of a file as they are written: the whole JSON file, or the lines of another one."""
    try:
        return [read_text(path)] if has_suffix(path, ".json") else storyboard_lines(path)
    except (OSError, UnicodeDecodeError) as error:
        rule = f"it cannot be read: {reason_of(error)}"
        raise ConfigError("storyboard", str(path), rule, "Check the name, and save it as UTF-8.") from error


def _scenes_of(path: str | Path, row: str, switch_every: float = 10.0) -> list[Scene]:
    try:
        prompts = [row] if has_suffix(path, ".txt") else prompts_of_row(row)
    except PromptError as error:
        rule = str(error).removesuffix(".")
        raise ConfigError(
            "storyboard", str(path), rule[:1].lower() + rule[1:], "Correct the file."
        ) from error
    return read_scenes(prompts, switch_every=switch_every)


def storyboard_lines(path: str | Path) -> list[str]:
    """The lines of a JSONL or text file that are not blank; OSError or ValueError if it cannot be read."""
    return [row for row in (line.decode() for line in read_lines(path)) if row.strip()]


def read_scenes(prompts: Any, *, switch_every: float = 10.0) -> list[Scene]:
    """The scenes of a storyboard's ``prompts``, in order; the first begins at 0.

    Args:
        prompts: a list of texts, or of ``{"at": seconds, "text": …, "switch": "soft" | "hard" | "keep"}``,
            where ``at`` and ``switch`` may be left out.
        switch_every: seconds between prompts that carry no time of their own.

    Raises:
        ConfigError: naming the entry that cannot be read.
        PromptError: if a prompt is empty, too long, or holds control characters.
    """
    if prompts == []:
        _refuse_list(prompts)
    scenes = _read_scenes(prompts, lambda number: number * switch_every)
    if scenes[0].at != 0:
        raise ConfigError("at", scenes[0].at, "the first prompt must be at 0 seconds", "Begin at 0.")
    return scenes


def read_later_scenes(prompts: Any) -> list[Scene]:
    """The scenes of a storyboard that has begun, in order: each has a time, and none has that of another.

    Args:
        prompts: as for ``read_scenes``, but each holds ``at``; may be empty.

    Raises:
        ConfigError, PromptError: as ``read_scenes``, or for two prompts of one second.
    """
    scenes = _read_scenes(prompts, lambda number: None)
    check_distinct(scenes)
    return scenes


def check_distinct(scenes: Sequence[Scene]) -> None:
    """ConfigError if two scenes, of a list in order, begin at the same second."""
    for before, scene in itertools.pairwise(scenes):
        if before.at == scene.at:
            raise ConfigError("at", scene.at, "two prompts begin then", "Give each a second of its own.")


def _read_scenes(prompts: Any, default_at: Callable[[int], float | None]) -> list[Scene]:
    if not isinstance(prompts, list):
        _refuse_list(prompts)
    if len(prompts) > MAX_SCENES:
        raise ConfigError(
            "number of prompts", len(prompts), f"at most {MAX_SCENES} are read", "Leave some out."
        )
    scenes = [_scene(number, prompt, default_at(number)) for number, prompt in enumerate(prompts)]
    return sorted(scenes, key=lambda scene: scene.at)


def _refuse_list(prompts: Any) -> NoReturn:
    rule = f"it must be a list of 1 to {MAX_SCENES} prompts"
    raise ConfigError("prompts", prompts, rule, 'Try [{"at": 0, "text": "a red ball"}].')


def _scene(number: int, prompt: Any, default_at: float | None) -> Scene:
    if isinstance(prompt, str):
        prompt = {"text": prompt}
    if not isinstance(prompt, dict) or not isinstance(prompt.get("text"), str):
        rule = 'it must hold a text and may hold "at" and "switch"'
        raise ConfigError(f"prompts[{number}]", prompt, rule, 'Try {"at": 0, "text": "a red ball"}.')
    at, switch = prompt.get("at", default_at), prompt.get("switch")
    at = check_time(f"prompts[{number}].at", at)
    if switch is not None and switch not in SWITCH_MODES:
        raise ConfigError(
            f"prompts[{number}].switch", switch, f"it must be one of {SWITCH_MODES}", "Correct it."
        )
    try:
        return Scene(at, prompt["text"], switch)
    except PromptError as error:
        raise PromptError(f"prompts[{number}]: {error}") from error
