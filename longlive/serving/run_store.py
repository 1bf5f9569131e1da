"""A run on disk: what it was asked for, its prompts, the clean latents and the segments of its chunks.

Three files that only grow: ``story.jsonl`` (a line for the story, for each plan of prompts to come, for each
chunk), ``latents.bin`` and ``segments.bin``. A line is written after the bytes that it tells of, and a chunk
counts if its digest is right, so a process that is killed at any moment leaves a story up to its last chunk.
At full size a second of video takes 0.8 MB of latents.
"""

import dataclasses
import fcntl
import json
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor

from longlive.chunks import MediaSegment, latents_digest
from longlive.config import StreamConfig
from longlive.errors import ConfigError, LongLiveError, MediaError, SessionFileError
from longlive.generation.session_file import PromptEvent, SessionRecord
from longlive.media.mp4 import Mp4Writer
from longlive.serving.executors.events import ChunkCheckpoint
from longlive.serving.executors.job import ResumeState
from longlive.serving.executors.messages import Prompt

STORY, LATENTS, SEGMENTS = "story.jsonl", "latents.bin", "segments.bin"


@dataclass(frozen=True)
class _Piece:
    """Where a chunk lies, and what it is."""

    digest: str
    latents: tuple[int, int, str, list[int]]
    segments: list[dict[str, Any]]


class RunStore:
    """One run's files and what is known of them; safe to use from several threads.

    Attributes:
        folder: where they lie.
        facts: what the run was asked for, as JSON values.
        is_over: the story has ended.
        is_whole: False once something could not be written: what came after is not there.
    """

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        """Begin a run's files in an empty folder.

        Raises:
            MediaError: if they cannot be written (a full disk).
        """
        self.folder, self.facts = folder, facts
        self.is_whole, self.is_over = True, False
        self.num_bytes = 0
        self._record: SessionRecord | None = None
        self._events: list[PromptEvent] = []
        self._digests: list[str] = []
        self._pieces: list[_Piece] = []
        self._plan: list[Prompt] = []
        self._ends = {LATENTS: 0, SEGMENTS: 0}
        self._lock = threading.Lock()
        if facts:
            self._write({"story": facts})

    @classmethod
    def read(cls, folder: Path) -> "RunStore":
        """The run in a folder, up to its last whole chunk; what lies beyond is cut off.

        Raises:
            SessionFileError: if there is no run.
        """
        spool = cls(folder, {})
        try:
            lines = (folder / STORY).read_bytes().splitlines(keepends=True)
            good = spool._read_lines(lines)
            for name, size in ((STORY, good), *spool._ends.items()):
                if (folder / name).exists():
                    with (folder / name).open("r+b") as file:
                        file.truncate(size)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SessionFileError(f"There is no story in {folder.name}: {error}.") from error
        if not spool.facts:
            raise SessionFileError(f"There is no story in {folder.name}. It may be damaged.")
        spool.num_bytes = good + sum(spool._ends.values())
        return spool

    @property
    def num_chunks(self) -> int:
        """Chunks that are kept."""
        return len(self._pieces)

    @property
    def num_frames(self) -> int:
        """Pictures that are kept."""
        last = self._pieces[-1].segments[-1] if self._pieces else None
        return last["first_frame"] + last["num_frames"] if last else 0

    @property
    def planned(self) -> tuple[Prompt, ...]:
        """The prompts to come, as they were told last."""
        return tuple(self._plan)

    def plan(self, prompts: Sequence[Prompt]) -> None:
        """Remember the prompts to come, in place of those told before; MediaError as for ``add``."""
        with self._lock:
            self._plan = list(prompts)
            self._write({"plan": [dataclasses.asdict(prompt) for prompt in prompts]})

    def add(self, segments: Sequence[MediaSegment], kept: ChunkCheckpoint) -> None:
        """Keep the next chunk; its prompt is known from here on, whether or not the disk takes it.

        Raises:
            MediaError: the first time that it cannot be written (a full disk); nothing more is kept then.
        """
        with self._lock:
            self._digests.append(kept.digest)
            if kept.event is not None:
                self._events.append(kept.event)
            is_new, self._record = kept.record != self._record, kept.record
            digests = {"event": kept.event and dataclasses.asdict(kept.event), "digest": kept.digest}
            record = dataclasses.asdict(kept.record) if is_new else None
            if not self.is_whole:
                return
            latents = kept.latents.contiguous()
            place = (self._ends[LATENTS], latents.nbytes, str(latents.dtype), list(latents.shape))
            told = []
            for segment in segments:
                fields = {name: value for name, value in vars(segment).items() if name != "data"}
                told.append(fields | {"size": len(segment.data)})
            self._append(LATENTS, latents.view(torch.uint8).numpy().tobytes())
            self._append(SEGMENTS, b"".join(segment.data for segment in segments))
            self._write({"chunk": digests | {"latents": place, "segments": told, "record": record}})
            self._pieces.append(_Piece(kept.digest, place, told))

    def end(self) -> None:
        """Note that the story is over; MediaError as for ``add``."""
        with self._lock:
            self.is_over = True
            self._write({"end": True})

    def record(self) -> SessionRecord | None:
        """What belongs into the session file; None before the first chunk."""
        with self._lock:
            if self._record is None:
                return None
            told = {"prompts": tuple(self._events), "chunks": tuple(self._digests)}
            return dataclasses.replace(self._record, **told)  # type: ignore[arg-type]

    def past(self, *, exact: bool) -> ResumeState | None:
        """The story so far; None if there is none.

        Raises:
            SessionFileError: if it cannot be read, or is not whole.
        """
        record = self.record()
        if not self.is_whole:
            raise SessionFileError("The disk was full, so what was made last is not there to go on from.")
        if record is None:
            return None
        try:
            data = (self.folder / LATENTS).read_bytes()
        except OSError as error:
            raise SessionFileError(f"What was made cannot be read: {error}.") from error
        latents = tuple(_latents(data, piece) for piece in self._pieces)
        return ResumeState(record, latents, self.num_frames, exact)

    def segments(self, first: int = 0) -> Iterator[MediaSegment]:
        """The segments from chunk ``first`` on, in order."""
        pieces = self._pieces[first:]
        offset = sum(part["size"] for piece in self._pieces[:first] for part in piece.segments)
        with (self.folder / SEGMENTS).open("rb") as file:
            file.seek(offset)
            for part in (part for piece in pieces for part in piece.segments):
                fields = {name: value for name, value in part.items() if name != "size"}
                yield MediaSegment(**fields, data=file.read(part["size"]))

    def write_take(self, path: Path) -> Path:
        """Join the segments to an MP4.

        Raises:
            MediaError: if there are none, or the file cannot be written.
        """
        take = Mp4Writer(path)
        try:
            for segment in self.segments():
                take.append(segment)
            return take.close()
        except OSError as error:
            raise MediaError(f"the video {path.name} cannot be written: {error}") from error
        finally:
            take.discard()

    def write_session(self, path: Path) -> Path:
        """Write the session file; SessionFileError when it cannot be written, or nothing was made."""
        record = self.record()
        if record is None:
            raise SessionFileError("Nothing was made yet, so there is no session file.")
        record.write(path)
        return path

    def _append(self, name: str, data: bytes) -> None:
        try:
            with (self.folder / name).open("ab") as file:
                file.write(data)
        except OSError as error:
            self.is_whole = False
            raise MediaError(f"{error.strerror or error}") from error
        self.num_bytes += len(data)
        if name in self._ends:
            self._ends[name] += len(data)

    def _write(self, line: dict[str, Any]) -> None:
        if self.is_whole:
            self._append(STORY, json.dumps(line, ensure_ascii=False).encode(errors="replace") + b"\n")

    def _read_lines(self, lines: Sequence[bytes]) -> int:
        """Take in what whole lines tell; the number of their bytes."""
        good = 0
        sizes = {name: _size(self.folder / name) for name in self._ends}
        data = (self.folder / LATENTS).read_bytes() if sizes[LATENTS] else b""
        for line in lines:
            try:
                told = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n") or not self._take(told, sizes, data):
                break
            good += len(line)
        return good

    def _take(self, told: dict[str, Any], sizes: dict[str, int], data: bytes) -> bool:
        """Take in one line; False if it tells of bytes that are not there, or not right."""
        if "story" in told:
            self.facts = told["story"]
        elif "end" in told:
            self.is_over = True
        elif "plan" in told:
            self._plan = [Prompt(**prompt) for prompt in told["plan"]]
        else:
            chunk = told["chunk"]
            offset, size, dtype, shape = chunk["latents"]
            piece = _Piece(chunk["digest"], (offset, size, dtype, shape), chunk["segments"])
            ends = {LATENTS: offset + size, SEGMENTS: self._ends[SEGMENTS]}
            ends[SEGMENTS] += sum(part["size"] for part in piece.segments)
            is_there = all(ends[name] <= sizes[name] for name in ends)
            if not is_there or latents_digest(_latents(data, piece)) != piece.digest:
                return False
            self._ends = ends
            self._pieces.append(piece)
            self._digests.append(piece.digest)
            if chunk["event"]:
                self._events.append(PromptEvent(**chunk["event"]))
            if chunk["record"]:
                stream = StreamConfig(**chunk["record"]["stream"])
                record = chunk["record"] | {"stream": stream, "prompts": (), "chunks": ()}
                self._record = SessionRecord(**record)
        return True


def stored_runs(folder: Path) -> Iterator[RunStore]:
    """The runs that lie in the folders of ``folder``; what is none is left alone."""
    for one in sorted(folder.iterdir()):
        if (one / STORY).exists():
            try:
                yield RunStore.read(one)
            except LongLiveError:
                continue


def store_folder(name: str | None, port: int) -> Path:
    """Where the stories of the app on a port are kept: in the folder of this name, or in a temporary one.

    Raises:
        ConfigError: if the folder cannot be made, or belongs to somebody else.
    """
    folder = Path(name) if name else Path(tempfile.gettempdir()) / f"longlive-{os.getuid()}-{port}"
    cure = "Choose another with --stories."
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError("stories", str(folder), f"it cannot be made: {error.strerror}", cure) from error
    if folder.stat().st_uid != os.getuid():
        raise ConfigError("stories", str(folder), "it belongs to somebody else", cure)
    return folder


def claim_folder(folder: Path) -> TextIO:
    """Hold a folder of stories for this process alone, until the file is closed.

    Raises:
        ConfigError: if another process holds it.
    """
    file = (folder / ".lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise ConfigError(
            "stories", str(folder), "another LongLive works there", "Choose another."
        ) from error
    return file


def _latents(data: bytes, piece: _Piece) -> Tensor:
    offset, size, dtype, shape = piece.latents
    flat = torch.frombuffer(bytearray(data[offset : offset + size]), dtype=torch.uint8)
    return flat.view(getattr(torch, dtype.removeprefix("torch."))).reshape(shape)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
