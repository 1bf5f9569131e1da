"""The session file that a run is made from, kept in its folder, and how what was made compares with it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from longlive.config import ModelConfig, StreamConfig
from longlive.errors import BusyError, SessionFileError
from longlive.generation.resume import check_facts, config_of_record
from longlive.generation.session_file import SessionRecord
from longlive.generation.start_clip import unpack_latents
from longlive.generation.storyboard import MAX_SCENES
from longlive.prompts import MAX_CHARACTERS
from longlive.serving.runs.store.run_store import RunStore

NAME = "recording.json"
FACT = "recording"
"""Among the run's facts: whether there is such a file."""
MAX_CHUNKS = 20_000
"""Of a video that can be made again: four hours of chunks of 0.75 s."""


@dataclass(frozen=True)
class Verification:
    """How many chunks of a recorded video were made again, and came out the same.

    Attributes:
        chunks: that are recorded.
        made: chunks that were made as recorded, from the first on: under the same prompts.
        same, different: of these, as their digests say; a share link has none.
        first_difference: number of the first that is different; None if none is.
        has_left: whether the video went another way before the recorded one ends.
    """

    chunks: int
    made: int
    same: int
    different: int
    first_difference: int | None
    has_left: bool


class Recording:
    """What is recorded of a run that is made again; of any other run, nothing.

    A chunk is compared with the recorded one where the same prompts came before it: not after a prompt of the
    viewer's own, nor after a quick resume, which sets the prompt again.

    Attributes:
        record: what is made again; None for nothing. Where a digest is not known, it is empty.
    """

    def __init__(self, store: RunStore) -> None:
        """Read the file of a stored run; ValueError if it should be there and cannot be read."""
        self._store = store
        self.record: SessionRecord | None = None
        if FACT in store.facts:
            try:
                self.record = SessionRecord.read(store.folder / NAME)
            except SessionFileError as error:
                raise ValueError(str(error)) from error

    @property
    def header(self) -> SessionRecord | None:
        """What a job needs of the record, whose prompts come apart from it: see ``Job.record``."""
        return self.record and replace(self.record, prompts=self.record.prompts[:1], chunks=())

    def matches(self, chunk: int) -> bool | None:
        """Whether a chunk that was made is as recorded; None if it cannot be compared."""
        matches = self._matches()
        return matches[chunk] if chunk < len(matches) else None

    def ends_with(self, chunk: int) -> bool:
        """Whether this chunk, made as recorded, is the last that is."""
        made = len(self._matches())
        return self.record is not None and chunk + 1 == made == len(self.record.chunks)

    def verification(self) -> Verification | None:
        """How far the run has come; None if nothing is recorded."""
        if self.record is None:
            return None
        matches, chunks = self._matches(), len(self.record.chunks)
        return Verification(
            chunks=chunks,
            made=len(matches),
            same=matches.count(True),
            different=matches.count(False),
            first_difference=matches.index(False) if False in matches else None,
            has_left=len(matches) < min(chunks, self._store.num_chunks),
        )

    def _matches(self) -> list[bool | None]:
        """For each chunk that was made as recorded, whether its digest is the same, if that is known."""
        made = self._store.record()
        if self.record is None or made is None:
            return []
        pairs = zip(made.chunks[: _num_comparable(self.record, made)], self.record.chunks, strict=False)
        return [digest == recorded if recorded else None for digest, recorded in pairs]


def write_recording(folder: Path, record: SessionRecord) -> int:
    """Write the file; returns its size in bytes, errors as for ``SessionRecord.write``."""
    record.write(folder / NAME)
    return (folder / NAME).stat().st_size


def check_record(record: SessionRecord, config: ModelConfig, here: Mapping[str, Any]) -> ModelConfig:
    """Check that a recorded video can be made again by an app.

    Args:
        record: of the video; it may come from anybody.
        config: of the app's model.
        here: what ``Executor.describe`` says of it.

    Returns:
        the config at the video's size.

    Raises:
        SessionFileError: if another model, other options or a size that the model does not have made it, or
            it is too long.
        BusyError: if the model is not loaded.
    """
    if not here:
        raise BusyError("The model is not loaded just now. Please try again in a minute.")
    check_facts(here, record)
    config = config_of_record(record, config)
    _check_length(record)
    own = StreamConfig.of(config)
    others = {name: value for name, value in vars(record.stream).items() if value != getattr(own, name)}
    if others:  # each would take memory of another size
        options = ", ".join(f"{name} {str(value)[:20]}" for name, value in others.items())
        raise SessionFileError(
            f"This video was made with other options than this app has: {options}. "
            "Make it again with `python -m longlive replay`."
        )
    unpack_latents(record.start, config, record.stream)
    return config


def _check_length(record: SessionRecord) -> None:
    if not record.chunks:
        raise SessionFileError("This session file has no chunks yet. Save it once the video has begun.")
    longest = max(len(event.text) for event in record.prompts)
    for what, count, most in (
        ("prompts", len(record.prompts), MAX_SCENES),
        ("chunks", len(record.chunks), MAX_CHUNKS),
        ("characters in a prompt", longest, MAX_CHARACTERS),
    ):
        if count > most:
            raise SessionFileError(
                f"This video has {count:,} {what}; at most {most:,} can be made again here. "
                "Make it again with `python -m longlive replay`."
            )


def _num_comparable(recorded: SessionRecord, made: SessionRecord) -> int:
    """How many of the first chunks were made under the recorded prompts."""
    count = min(len(made.chunks), len(recorded.chunks))
    for one, other in zip_longest(recorded.prompts, made.prompts):
        if one != other:
            return min([count, *(event.chunk for event in (one, other) if event is not None)])
    return count
