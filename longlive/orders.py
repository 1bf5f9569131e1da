"""What a carrier is asked to make, and what it reports: values that cross threads, processes, machines."""

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from longlive.chunks import MediaSegment
from longlive.limits import Limits
from longlive.mailbox import Playhead, Prompt
from longlive.packed import Packed
from longlive.segments import Container
from longlive.session_file import PromptEvent, SessionRecord

Failure = Literal["model", "memory", "encoder", "disk", "worker lost"]
"""What can break."""


@dataclass(frozen=True)
class Past:
    """A story so far, for a session that goes on with it.

    Attributes:
        record: prompts and digests of the chunks that were made.
        latents: of each chunk, (1, F, C, H, W) on the CPU.
        num_frames: pictures made.
        exact: go on as if nothing had happened; else in the quick way (see Session.resume).
    """

    record: SessionRecord
    latents: tuple[Tensor, ...]
    num_frames: int
    exact: bool

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled, the latents are bytes."""
        packed = tuple(Packed.of(latents) for latents in self.latents)
        return _unpacked_past, (self.record, packed, self.num_frames, self.exact)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a carrier is asked to make.

    Attributes:
        name: of the run, short and safe to show and log.
        seed: of the noise.
        prompts: what is still to come, by the chunk where each is due; of a new story, the first begins it.
        limits: how far it may go.
        container: form of the segments.
        past: what was made before; None for a new story.
        playhead: where the viewer is, as far as is known.
    """

    name: str
    seed: int
    prompts: tuple[Prompt, ...]
    limits: Limits
    container: Container = "mp4"
    past: Past | None = None
    playhead: Playhead | None = None


@dataclass(frozen=True)
class Kept:
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
class Shot:
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
    kept: Kept | None = None


@dataclass(frozen=True)
class Notice:
    """A report: something that the viewer should know, in words; the run goes on.

    Attributes:
        words: for people.
        failure: what had broken, if anything.
    """

    words: str
    failure: Failure | None = None


@dataclass(frozen=True)
class Ended:
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
class Yielded:
    """A report, the last one of a carriage: the carrier lets go, and the story can go on elsewhere."""

    reason: str


Report = Shot | Notice | Ended | Yielded


def _unpacked_past(record: SessionRecord, packed: tuple[Packed, ...], num_frames: int, exact: bool) -> Past:
    return Past(record, tuple(one.tensor() for one in packed), num_frames, exact)


def _unpacked_kept(record: SessionRecord, event: PromptEvent | None, digest: str, packed: Packed) -> Kept:
    return Kept(record, event, digest, packed.tensor())
