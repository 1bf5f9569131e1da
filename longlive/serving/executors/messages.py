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


Message = Prompt | Playhead | Stop | Suspend


def supersedes(new: Message, old: Message) -> bool:
    """Whether nobody need read ``old`` once ``new`` has come."""
    return isinstance(old, Playhead) and isinstance(new, Playhead)
