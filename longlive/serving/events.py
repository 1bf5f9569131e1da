"""What the viewer of a story is told, beside its pictures."""

from dataclasses import dataclass
from pathlib import Path

from longlive.serving.executors.events import NoticeEvent, SegmentEvent
from longlive.serving.limits import span


@dataclass(frozen=True)
class PromptScheduled:
    """When a prompt will be seen: from which chunk on, at which second of the take, in how many seconds."""

    chunk: int
    at_seconds: float
    in_seconds: float


@dataclass(frozen=True)
class QueuePosition:
    """A word to the viewer: how many places from the model, and how many seconds it takes at most."""

    position: int
    wait_s: float

    @property
    def words(self) -> str:
        """For people."""
        place = "You are next" if self.position == 1 else f"You are number {self.position} in line"
        wait = f"your story starts by itself, in {span(self.wait_s)} at most"
        return f"{place}: {wait}. Please keep this page open."


@dataclass(frozen=True)
class RunFinished:
    """A word to the viewer, the last one: why it ended, and the files that it left, if any."""

    reason: str
    take: Path | None = None
    session_file: Path | None = None
    failed: bool = False


RunEvent = SegmentEvent | NoticeEvent | QueuePosition | RunFinished
"""What a viewer is told."""
