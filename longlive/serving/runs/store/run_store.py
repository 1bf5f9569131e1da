"""A run on disk: what it was asked for, its prompts, the clean latents and the segments of its chunks.

Three files that only grow: ``story.jsonl`` (a line for the run, for each list of prompts to come, for each
chunk, and whenever chunks are dropped), ``latents.bin`` and ``segments.bin``. A line is written after the
bytes that it refers to, and a chunk counts if its digest is right, so a process that is killed at any moment
leaves a run up to its last chunk.
At full size a second of video takes 0.8 MB of latents. (Not SQLite: the three files are a format that older
versions have written, and appending to them costs one write each.)
"""

import dataclasses
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from longlive.chunks import MediaSegment, latents_digest
from longlive.config import StreamConfig
from longlive.errors import MediaError, SessionFileError, reason_of
from longlive.generation.noise import Reseed
from longlive.generation.session_file import PromptEvent, SessionRecord
from longlive.serving.executors.events import ChunkCheckpoint
from longlive.serving.executors.job import ResumeState
from longlive.serving.executors.messages import Prompt
from longlive.serving.rendering.idle_judge import ChunkFit
from longlive.serving.runs.store.chunk_index import ChunkIndex, StoredChunk
from longlive.serving.runs.store.stored_segments import read_segment, segment_fields

STORY, LATENTS, SEGMENTS = "story.jsonl", "latents.bin", "segments.bin"


class RunStore:
    """One run's files and what is known of them; safe to use from several threads.

    Attributes:
        folder: where they lie.
        facts: what the run was asked for, as JSON values: key, model, size, seed, container.
        chunks: what is stored.
        is_finished: the run is over.
        is_intact: False once something could not be written: what came after is not there.
        num_bytes: that they take.
    """

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        """Start a run's files in an empty folder.

        Raises:
            MediaError: if they cannot be written (a full disk).
        """
        self.folder, self.facts = folder, facts
        self.is_intact, self.is_finished = True, False
        self.num_bytes = 0
        self._record: SessionRecord | None = None
        self._events: list[PromptEvent] = []
        self._digests: list[str] = []
        self.chunks = ChunkIndex()
        self._prompts: list[Prompt] = []
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
        store = cls(folder, {})
        try:
            lines = (folder / STORY).read_bytes().splitlines(keepends=True)
            good = store._read_lines(lines)
            for name, size in ((STORY, good), *store._ends.items()):
                if _size(folder / name) > size:  # else its time would change, and tells when it was last made
                    with (folder / name).open("r+b") as file:
                        file.truncate(size)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SessionFileError(f"There is no run in {folder.name}: {error}.") from error
        if not store.facts:
            raise SessionFileError(f"There is no run in {folder.name}. It may be damaged.")
        store.num_bytes = good + sum(store._ends.values())
        return store

    @property
    def num_chunks(self) -> int:
        """Chunks that are stored."""
        return len(self.chunks)

    @property
    def num_frames(self) -> int:
        """Pictures that are stored."""
        return self.chunks.num_frames

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The prompts to come, as they were written last."""
        return tuple(self._prompts)

    def write_prompts(self, prompts: Sequence[Prompt]) -> None:
        """Write the prompts to come, in place of those written before; MediaError as for ``add``."""
        with self._lock:
            self._prompts = list(prompts)
            self._write({"plan": [dataclasses.asdict(prompt) for prompt in prompts]})

    def add(self, segments: Sequence[MediaSegment], checkpoint: ChunkCheckpoint) -> None:
        """Store the next chunk; its prompt is known from here on, whether or not the disk takes it.

        Raises:
            MediaError: the first time that it cannot be written (a full disk); nothing more is stored then.
        """
        with self._lock:
            self._digests.append(checkpoint.digest)
            if checkpoint.event is not None:
                self._events.append(checkpoint.event)
            is_new, self._record = checkpoint.record != self._record, checkpoint.record
            digests = {
                "event": checkpoint.event and dataclasses.asdict(checkpoint.event),
                "digest": checkpoint.digest,
            }
            record = dataclasses.asdict(checkpoint.record) if is_new else None
            if not self.is_intact:
                return
            latents = checkpoint.latents.contiguous()
            place = (self._ends[LATENTS], latents.nbytes, str(latents.dtype), list(latents.shape))
            parts = [segment_fields(segment) for segment in segments]
            offset = self._ends[SEGMENTS]
            self._append(LATENTS, latents.view(torch.uint8).numpy().tobytes())
            self._append(SEGMENTS, b"".join(segment.data for segment in segments))
            self._write({"chunk": digests | {"latents": place, "segments": parts, "record": record}})
            self.chunks.append(StoredChunk(checkpoint.digest, place, parts, offset))

    def add_fits(self, fits: Sequence[ChunkFit]) -> None:
        """Note how well chunks fit their prompts, of those in ``known_fits``; MediaError as for ``add``."""
        with self._lock:
            self.chunks.add_fits({one.chunk: one.fit for one in fits})
            self._write({"fits": [[one.chunk, one.fit] for one in fits]})

    def known_fits(self, fits: Sequence[ChunkFit]) -> tuple[ChunkFit, ...]:
        """Those of them whose chunks are stored, and were not made anew for another prompt."""
        with self._lock:
            return tuple(one for one in fits if self.chunks.is_made_by(one.chunk, one.prompt_index))

    def rewind(self, num_chunks: int) -> None:
        """Drop the chunks from number ``num_chunks`` on; MediaError as for ``add``."""
        with self._lock:
            self._drop(num_chunks)
            self._write({"rewind": num_chunks})

    def _drop(self, num_chunks: int) -> None:
        del self.chunks[num_chunks:], self._digests[num_chunks:]
        self._events = [event for event in self._events if event.chunk < num_chunks]

    @property
    def last_prompt_chunk(self) -> int:
        """The chunk at which the prompt in use took effect."""
        return self._events[-1].chunk if self._events else 0

    def end(self) -> None:
        """Note that the run is over, so that no process resumes it; MediaError as for ``add``."""
        with self._lock:
            self.is_finished = True
            self._write({"end": True})

    def record(self) -> SessionRecord | None:
        """What belongs into the session file; None before the first chunk."""
        with self._lock:
            if self._record is None:
                return None
            return dataclasses.replace(self._record, prompts=tuple(self._events), chunks=tuple(self._digests))

    def resume_state(self, *, exact: bool) -> ResumeState | None:
        """What was made so far; None if nothing was.

        Raises:
            SessionFileError: if it cannot be read, or something could not be written.
        """
        record = self.record()
        if not self.is_intact:
            raise SessionFileError("The disk was full: the last chunks are missing, so the run cannot go on.")
        if record is None:
            return None
        return ResumeState(record, self.latents(), self.num_frames, exact)

    def checkpoints(self, num_chunks: int) -> Iterator[tuple[list[MediaSegment], ChunkCheckpoint]]:
        """The first chunks as they were added, of the moment of the call, each read when it is asked for.

        Raises:
            SessionFileError: if so many are not stored, or they cannot be read.
        """
        with self._lock:
            header, chunks = self._record, self.chunks[:num_chunks]
            events = {event.chunk: event for event in self._events}
        if header is None or not self.is_intact or not 0 < num_chunks <= len(chunks):
            raise SessionFileError(
                f"That video is not stored up to chunk {num_chunks}. Choose an earlier one."
            )
        return _read_checkpoints(self.folder, header, chunks, events)

    def latents(self) -> tuple[Tensor, ...]:
        """The latents of all chunks, (1, F, C, H, W) each; SessionFileError if they cannot be read."""
        if not self.chunks:
            return ()
        try:
            with (self.folder / LATENTS).open("rb") as file:
                return tuple(_read_latents(file, chunk) for chunk in self.chunks)
        except OSError as error:
            raise SessionFileError(f"The stored latents cannot be read: {error}.") from error

    def chunk(self, index: int) -> list[MediaSegment]:
        """The segments of one chunk, none where it is not stored; OSError if they cannot be read."""
        with self._lock:
            return list(self.segments(index, index + 1))

    def segments(self, first: int = 0, end: int | None = None) -> Iterator[MediaSegment]:
        """The segments from chunk ``first`` to before ``end``, read as they are asked for."""
        chunks = self.chunks[first:end]
        if not chunks:
            return
        with (self.folder / SEGMENTS).open("rb") as file:
            for chunk in chunks:
                file.seek(chunk.offset)
                for part in chunk.segments:
                    yield read_segment(part, file.read(part["size"]))

    def segments_after(self, seconds: float, *, at_most: int) -> list[MediaSegment]:
        """The segments that end after a second of the video, of these the last ``at_most``."""
        return list(self.segments(self.chunks.first_after(seconds, at_most=at_most)))[-at_most:]

    def _append(self, name: str, data: bytes) -> None:
        try:
            with (self.folder / name).open("ab") as file:
                file.write(data)
        except OSError as error:
            self.is_intact = False
            raise MediaError(f"{error.strerror or error}") from error
        self.num_bytes += len(data)
        if name in self._ends:
            self._ends[name] += len(data)

    def _write(self, line: dict[str, Any]) -> None:
        if self.is_intact:
            self._append(STORY, json.dumps(line, ensure_ascii=False).encode(errors="replace") + b"\n")

    def _read_lines(self, lines: Sequence[bytes]) -> int:
        """Take in all whole lines; returns the number of their bytes."""
        good = 0
        sizes = {name: _size(self.folder / name) for name in self._ends}
        data = (self.folder / LATENTS).read_bytes() if sizes[LATENTS] else b""
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n") or not self._read_entry(entry, sizes, data):
                break
            good += len(line)
        return good

    def _read_entry(self, entry: dict[str, Any], sizes: dict[str, int], data: bytes) -> bool:
        """Take in one line; False if it refers to bytes that are missing or wrong."""
        if "story" in entry:
            self.facts = entry["story"]
        elif "end" in entry:
            self.is_finished = True
        elif "plan" in entry:
            self._prompts = [Prompt(**prompt) for prompt in entry["plan"]]
        elif "fits" in entry:
            self.chunks.add_fits(dict(entry["fits"]))
        elif "rewind" in entry:
            self._drop(int(entry["rewind"]))
        else:
            return self._read_chunk(entry["chunk"], sizes, data)
        return True

    def _read_chunk(self, entry: dict[str, Any], sizes: dict[str, int], data: bytes) -> bool:
        offset, size, dtype, shape = entry["latents"]
        place = (offset, size, dtype, shape)
        chunk = StoredChunk(entry["digest"], place, entry["segments"], self._ends[SEGMENTS])
        ends = {LATENTS: offset + size, SEGMENTS: self._ends[SEGMENTS]}
        ends[SEGMENTS] += sum(part["size"] for part in chunk.segments)
        is_there = all(ends[name] <= sizes[name] for name in ends)
        if not is_there or latents_digest(_latents(data[offset : offset + size], chunk)) != chunk.digest:
            return False
        self._ends = ends
        self.chunks.append(chunk)
        self._digests.append(chunk.digest)
        if entry["event"]:
            self._events.append(PromptEvent(**entry["event"]))
        if entry["record"]:
            stream = StreamConfig(**entry["record"]["stream"])
            reseeds = tuple(Reseed(**one) for one in entry["record"].get("reseeds", ()))
            parts = {"stream": stream, "prompts": (), "chunks": (), "reseeds": reseeds}
            record = entry["record"] | parts
            self._record = SessionRecord(**record)
        return True


def _latents(data: bytes, chunk: StoredChunk) -> Tensor:
    """The latents of a chunk from their bytes."""
    *_, dtype, shape = chunk.latents
    flat = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return flat.view(getattr(torch, dtype.removeprefix("torch."))).reshape(shape)


def _read_latents(file: BinaryIO, chunk: StoredChunk) -> Tensor:
    """The latents of a chunk from the file of all."""
    file.seek(chunk.latents[0])
    return _latents(file.read(chunk.latents[1]), chunk)


def _read_checkpoints(
    folder: Path, header: SessionRecord, chunks: Sequence[StoredChunk], events: dict[int, PromptEvent]
) -> Iterator[tuple[list[MediaSegment], ChunkCheckpoint]]:
    """What ``RunStore.add`` was given of each chunk."""
    try:
        with (folder / LATENTS).open("rb") as latents, (folder / SEGMENTS).open("rb") as segments:
            for index, chunk in enumerate(chunks):
                segments.seek(chunk.offset)
                parts = [read_segment(part, segments.read(part["size"])) for part in chunk.segments]
                tensor = _read_latents(latents, chunk)
                yield parts, ChunkCheckpoint(header, events.get(index), chunk.digest, tensor)
    except (OSError, RuntimeError, ValueError) as error:
        raise SessionFileError(f"That video is no longer kept: {reason_of(error)}.") from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
