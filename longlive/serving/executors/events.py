"""What an executor reports while it makes a run."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from longlive.chunks import MediaSegment
from longlive.generation.session_file import PromptEvent, SessionRecord
from longlive.serving.codes import DISCARDING, FailureKind, FinishReason, NoticeCode, PreemptReason
from longlive.serving.executors.packed import Packed
from longlive.serving.rendering.idle_judge import ChunkFit


@dataclass(frozen=True)
class ChunkCheckpoint:
    """What is needed to go on after a chunk.

    Attributes:
        record: the session's record without its prompts and chunks.
        event: the prompt that came into force with this chunk; None if none did.
        digest: of the latents, as in the session file.
        latents: clean, (1, F, C, H, W), on the CPU.
    """

    record: SessionRecord
    event: PromptEvent | None
    digest: str
    latents: Tensor

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled, the latents are bytes."""
        return _unpack_checkpoint, (self.record, self.event, self.digest, Packed.of(self.latents))


@dataclass(frozen=True)
class Failure:
    """Something broke.

    Attributes:
        kind: what.
        detail: the error's own message.
        chunk: that was being made.
    """

    kind: FailureKind
    detail: str = ""
    chunk: int = 0


@dataclass(frozen=True)
class SegmentEvent:
    """One more segment.

    Attributes:
        segment: what to play.
        fps: pictures per second that model and encoder reach together, over the last chunks.
        chunk_ms: what this chunk took so far, waiting for the model included.
        checkpoint: of the chunk that this segment ends; None if more of it follows.
        stage_ms: in the first segment of a prompt, milliseconds by stage (see rendering/prompt_stages.py)
            since the prompt was taken up; the run adds ``waiting``.
        fits: how well the last chunks fit their prompts, as far as that was judged meanwhile.
        prompt_delay_s: seconds that a prompt sent at this moment takes to the screen; filled in by the run.
        left_s: seconds that the run may still go on, unless others come to wait; filled in by the run.
        matches: whether the chunk that this segment ends is as recorded, where a video is made again; None if
            it cannot be compared; filled in by the run.
    """

    segment: MediaSegment
    fps: float
    chunk_ms: float
    checkpoint: ChunkCheckpoint | None = None
    stage_ms: dict[str, float] | None = None
    fits: tuple[ChunkFit, ...] = ()
    prompt_delay_s: float = 0.0
    left_s: float = 0.0
    matches: bool | None = None


@dataclass(frozen=True)
class NoticeEvent:
    """Something that the viewer should know; the run goes on.

    Attributes:
        code: what.
        seconds: how long, where the notice is about time.
        failure: what had broken, if anything.
    """

    code: NoticeCode
    seconds: float = 0.0
    failure: Failure | None = None


@dataclass(frozen=True)
class Finished:
    """The last event of a stream: the video is over.

    Attributes:
        reason: why.
        failure: what broke, if that ended it.
    """

    reason: FinishReason
    failure: Failure | None = None

    @property
    def keeps_video(self) -> bool:
        """Whether what was made is kept."""
        return self.reason not in DISCARDING


@dataclass(frozen=True)
class Preempted:
    """The last event of a stream: the executor lets go, and the run can go on later or elsewhere.

    Attributes:
        reason: why.
        detail: the error's or the platform's own message, if there is one.
    """

    reason: PreemptReason
    detail: str = ""


ExecutorEvent = SegmentEvent | NoticeEvent | Finished | Preempted


def _unpack_checkpoint(
    record: SessionRecord, event: PromptEvent | None, digest: str, packed: Packed
) -> ChunkCheckpoint:
    return ChunkCheckpoint(record, event, digest, packed.tensor())
