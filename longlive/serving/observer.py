"""What happens to runs, recorded once: counted in the metrics and written to the log.

observer.record(run.name, PromptAccepted("soft", chunk=4, length=31))
"""

import logging
import math
from dataclasses import dataclass

from longlive.chunks import SwitchMode
from longlive.serving.codes import FinishReason, SuspendReason
from longlive.serving.executors.events import Failure
from longlive.serving.metrics import EndLabel, Metrics, ResumeKind
from longlive.serving.run_logger import RunLogger, quoted

_END_LABELS: dict[FinishReason, EndLabel] = {
    "complete": "complete",
    "user": "stopped",
    "max_duration": "limit",
    "contended_duration": "limit",
    "no_player": "limit",
    "quota": "limit",
    "replaced": "abandoned",
    "closed": "abandoned",
    "expired": "abandoned",
    "failed": "failed",
}


@dataclass(frozen=True)
class Started:
    """A viewer started a run; it waits for a slot."""

    seed: int
    length: int
    executor: str
    model: str


@dataclass(frozen=True)
class Admitted:
    """A run got a slot after it waited in the queue."""

    waited_s: float


@dataclass(frozen=True)
class PromptAccepted:
    """A prompt was scheduled for a chunk."""

    switch: SwitchMode
    chunk: int
    length: int


@dataclass(frozen=True)
class PromptRefused:
    """A prompt could not be used."""


@dataclass(frozen=True)
class Suspended:
    """A run let go of the model."""

    reason: SuspendReason
    retention_s: float


@dataclass(frozen=True)
class Resumed:
    """A run goes on after an interruption."""

    mode: ResumeKind
    chunk: int
    cause: str


@dataclass(frozen=True)
class ChunkMade:
    """A segment came; the last one of a chunk says what the chunk took."""

    num_frames: int
    chunk_s: float | None


@dataclass(frozen=True)
class ChunksDropped:
    """Chunks that no viewer had begun to see were dropped from number ``chunk`` on, for a new prompt."""

    chunk: int
    count: int


@dataclass(frozen=True)
class EventsDropped:
    """Events that no follower ever read were dropped."""

    count: int


@dataclass(frozen=True)
class Ended:
    """A run is over, with so much video made."""

    reason: FinishReason
    seconds: float
    detail: str = ""


Occurrence = (
    Started
    | Admitted
    | PromptAccepted
    | PromptRefused
    | Suspended
    | Resumed
    | ChunkMade
    | ChunksDropped
    | EventsDropped
    | Ended
    | Failure
)


class Observer:
    """Records what happens to the runs of one engine."""

    def __init__(self, metrics: Metrics) -> None:
        """Count in ``metrics``."""
        self.metrics = metrics

    def record(self, run: str, happened: Occurrence) -> None:
        """Count and log what happened to the run of this name."""
        self._count(happened)
        self._log(RunLogger(run), happened)

    def _count(self, happened: Occurrence) -> None:
        metrics = self.metrics
        match happened:
            case Started():
                metrics.count_start()
            case PromptAccepted(switch):
                metrics.count_prompt(switch)
            case PromptRefused():
                metrics.count_refused_prompt()
            case Resumed(mode):
                metrics.count_resume(mode)
            case ChunkMade(num_frames, chunk_s):
                metrics.count_pictures(num_frames, chunk_s)
            case ChunksDropped(_, count):
                metrics.count_dropped_chunks(count)
            case EventsDropped(count):
                metrics.count_dropped(count)
            case Ended(reason):
                metrics.count_end(_END_LABELS[reason])
            case Failure(kind):
                metrics.count_failure(kind)

    def _log(self, log: RunLogger, happened: Occurrence) -> None:
        match happened:
            case Started(seed, length, executor, model):
                text = "started, seed %d, %d characters, %s executor, model %s"
                log.info(text, seed, length, executor, quoted(model))
            case Admitted(waited_s):
                log.info("admitted after %.1f s in the queue", waited_s)
            case PromptAccepted(switch, chunk, length):
                log.info("prompt switch (%s) at chunk %d, %d characters", quoted(switch), chunk, length)
            case ChunksDropped(chunk, count):
                log.info("dropped %d unseen chunks from chunk %d on", count, chunk)
            case Suspended(reason, retention_s):
                kept = f"for {retention_s:.0f} s" if math.isfinite(retention_s) else "until it goes on"
                log.info("suspended: %s; kept %s", reason.replace("_", " "), kept)
            case Resumed(mode, chunk, cause):
                log.info("resumed (%s) at chunk %d: %s", mode, chunk, quoted(cause))
            case Failure(kind, detail, chunk):
                log.log(logging.WARNING, "%s failed at chunk %d: %s", kind, chunk, quoted(detail))
            case Ended(reason, seconds, detail):
                label, why = _END_LABELS[reason], quoted(detail or reason)
                log.info("ended (%s) after %.2f s of video: %s", label, seconds, why)
