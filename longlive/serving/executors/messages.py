"""Messages to a run that is being made; they cross threads, processes and machines."""

from dataclasses import dataclass

from longlive.chunks import SwitchMode
from longlive.serving.codes import DISCARDING, StopReason


@dataclass(frozen=True)
class Prompt:
    """Go on with this prompt from ``chunk`` on; scripted prompts are cancelled by a viewer's own.

    One that ``rewinds`` takes effect at just this chunk: if it was made already, it is dropped with all after
    it, and made again. Any other prompt is moved to the first chunk that has not started.
    """

    text: str
    switch: SwitchMode = "soft"
    chunk: int = 0
    scripted: bool = False
    rewinds: bool = False


@dataclass(frozen=True)
class Reschedule:
    """Change the prompts to come: those of some chunks go, others are added.

    A prompt is named by its chunk, as no two to come have the same. Each that is added is moved to the first
    free chunk that has not started.

    Attributes:
        removed: chunks of the prompts that go; one that has started keeps its prompt.
        added: prompts to come, in order.
        occupied: chunks of the other prompts to come.
        is_strict: change nothing if a chunk of ``removed`` has started.
        started_chunk: the chunk that was started last when this was posted; set by ``post``.
    """

    removed: tuple[int, ...] = ()
    added: tuple[Prompt, ...] = ()
    occupied: tuple[int, ...] = ()
    is_strict: bool = False
    started_chunk: int = -1

    @property
    def is_late(self) -> bool:
        """Whether it was posted too late to change anything; a mailbox does not take it then."""
        return self.is_strict and min(self.removed, default=self.started_chunk + 1) <= self.started_chunk


@dataclass(frozen=True)
class Playhead:
    """The viewer sees this second of the video, and it plays or stands still."""

    seconds: float
    playing: bool = True


@dataclass(frozen=True)
class Stop:
    """End the video at the next chunk boundary."""

    reason: StopReason

    @property
    def keeps_video(self) -> bool:
        """Whether what was made is kept."""
        return self.reason not in DISCARDING


@dataclass(frozen=True)
class Suspend:
    """Let go of the model at the next chunk boundary; the run can go on later."""


Message = Prompt | Reschedule | Playhead | Stop | Suspend


def supersedes(new: Message, old: Message) -> bool:
    """Whether nobody need read ``old`` once ``new`` has come."""
    return isinstance(old, Playhead) and isinstance(new, Playhead)
