"""What the followers of a run read from its event log, beside its segments and notices."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from longlive.serving.codes import FinishReason
from longlive.serving.executors.events import Failure, NoticeEvent, SegmentEvent


@dataclass(frozen=True)
class RunStarted:
    """The first event of every log."""


@dataclass(frozen=True)
class QueuePosition:
    """A run waits for a slot.

    Attributes:
        position: 1 for the run that is admitted next.
        wait_s: seconds until then, at most.
    """

    position: int
    wait_s: float


@dataclass(frozen=True)
class RunFinished:
    """The last event of a run.

    Attributes:
        reason: why it is over.
        failure: what broke, if that ended it.
        video, session_file: what it left, if anything.
        not_kept: what could not be written, one message each.
    """

    reason: FinishReason
    failure: Failure | None = None
    video: Path | None = None
    session_file: Path | None = None
    not_kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rewound:
    """Chunks that the viewer has not begun to see were dropped; others will come in their place.

    Attributes:
        chunk: the first of them.
        second: where it began, in the video.
    """

    chunk: int
    second: float


RunEvent = RunStarted | SegmentEvent | Rewound | NoticeEvent | QueuePosition | RunFinished


@dataclass(frozen=True)
class PromptScheduled:
    """When a prompt will be seen: from which chunk on, at which second of the video, in how many seconds."""

    chunk: int
    at_seconds: float
    in_seconds: float


def without_dropped(events: Iterable[tuple[int, RunEvent]]) -> list[tuple[int, SegmentEvent]]:
    """The segments among numbered events, oldest first, but for those that were dropped later."""
    kept: list[tuple[int, SegmentEvent]] = []
    for number, event in events:
        if isinstance(event, SegmentEvent):
            kept.append((number, event))
        elif isinstance(event, Rewound):
            kept = [(at, one) for at, one in kept if one.segment.index < event.chunk]
    return kept
