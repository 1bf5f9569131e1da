"""What a carrier is asked to make, and what it reports: values that cross threads, processes, machines."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from longlive.chunks import MediaSegment
from longlive.errors import ConfigError
from longlive.mailbox import Playhead, Prompt
from longlive.packed import Packed
from longlive.segments import Container
from longlive.session_file import PromptEvent, SessionRecord

Failure = Literal["model", "memory", "encoder", "disk", "worker lost"]
"""What can break."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How far and how long a run may go; ``words`` tells people.

    Attributes:
        ahead_s: seconds of video that may lie ready beyond the playhead.
        idle_s: a run rests when its player has been silent for so long.
        away_s: a run rests when nobody has followed it for so long.
        grace_s: a run that rests, or has ended, can be taken up again for so long.
        unwatched_s: a run whose player never spoke (a program, say) goes by the clock and ends after so long.
        longest_s: every run ends after so long.
        shared_s: after so long it ends if others wait; the warning comes ``warning_s`` before.
        warning_s: how long before its end a run is warned.
        video_s: a run ends when it has made so much video.
        queue: prompts that may wait for their chunk.
        prompts_per_minute: that one viewer may send.
        line: runs that may wait for room.
        per_address: runs of one address that may go on or wait at once.
    """

    ahead_s: float = 1.5
    idle_s: float = 15.0
    away_s: float = 5.0
    grace_s: float = 600.0
    unwatched_s: float = 120.0
    longest_s: float = 1800.0
    shared_s: float = 300.0
    warning_s: float = 30.0
    video_s: float = math.inf
    queue: int = 8
    prompts_per_minute: int = 30
    line: int = 16
    per_address: int = 8

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Limits":
        """From the options of a command, others among them; what is not among them is as usual.

        Raises:
            ConfigError: if one is not above 0.
        """
        names = [field.name for field in dataclasses.fields(cls) if field.name in values]
        for name in names:
            if not values[name] > 0:
                raise ConfigError(name, values[name], "it must be above 0", "Leave it out for the usual.")
        return cls(**{name: values[name] for name in names})

    def words(self) -> str:
        """What a viewer should know before it bites."""
        return f"A story lasts up to {_span(self.longest_s)}, or {_span(self.shared_s)} while others wait."


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


def _span(seconds: float) -> str:
    """A length of time for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes"


def _unpacked_past(record: SessionRecord, packed: tuple[Packed, ...], num_frames: int, exact: bool) -> Past:
    return Past(record, tuple(one.tensor() for one in packed), num_frames, exact)


def _unpacked_kept(record: SessionRecord, event: PromptEvent | None, digest: str, packed: Packed) -> Kept:
    return Kept(record, event, digest, packed.tensor())
