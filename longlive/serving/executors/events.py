"""What an executor reports while it makes a run."""

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from longlive.chunks import MediaSegment
from longlive.generation.session_file import PromptEvent, SessionRecord
from longlive.serving.executors.packed import Packed

Failure = Literal["model", "memory", "encoder", "disk", "worker lost"]
"""What can break."""


@dataclass(frozen=True)
class ChunkCheckpoint:
    """What makes it possible to go on after a chunk.

    Attributes:
        record: how the story is made, without its prompts and chunks.
        event: the prompt that this chunk is the first of; None if it goes on with the one before.
        digest: of the latents, as in the session file.
        latents: clean, (1, F, C, H, W), on the CPU.
    """

    record: SessionRecord
    event: PromptEvent | None
    digest: str
    latents: Tensor

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled, the latents are bytes."""
        return _unpacked_kept, (self.record, self.event, self.digest, Packed.of(self.latents))


@dataclass(frozen=True)
class SegmentEvent:
    """A report: one more segment.

    Attributes:
        segment: what to play.
        fps: pictures per second that the model and the encoder reach together, over the last chunks.
        chunk_ms: what this chunk took up to now, waiting for the model included.
        kept: what belongs to the chunk that this segment ends; None if more of it follows.
    """

    segment: MediaSegment
    fps: float
    chunk_ms: float
    kept: ChunkCheckpoint | None = None


@dataclass(frozen=True)
class NoticeEvent:
    """A report: something that the viewer should know, in words; the run goes on.

    Attributes:
        words: for people.
        failure: what had broken, if anything.
    """

    words: str
    failure: Failure | None = None


@dataclass(frozen=True)
class Finished:
    """A report, the last of a carriage: the story is over.

    Attributes:
        reason: why, for people.
        keep: what was made; else it is dropped.
        failed: it was not meant to end, since ``failure`` broke.
    """

    reason: str
    keep: bool = True
    failed: bool = False
    failure: Failure = "model"


@dataclass(frozen=True)
class Preempted:
    """A report, the last one of a carriage: the carrier lets go, and the story can go on elsewhere."""

    reason: str


ExecutorEvent = SegmentEvent | NoticeEvent | Finished | Preempted


def _unpacked_kept(
    record: SessionRecord, event: PromptEvent | None, digest: str, packed: Packed
) -> ChunkCheckpoint:
    return ChunkCheckpoint(record, event, digest, packed.tensor())
