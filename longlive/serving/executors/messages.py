"""Messages to a run."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from longlive.chunks import SwitchMode


@dataclass(frozen=True)
class Prompt:
    """A message: go on with this prompt from ``chunk`` on; ``scripted`` ones give way to a viewer's own."""

    text: str
    switch: SwitchMode = "soft"
    chunk: int = 0
    scripted: bool = False


@dataclass(frozen=True)
class Playhead:
    """A message: the viewer sees this second of the take, and time passes or stands still."""

    seconds: float
    playing: bool = True


@dataclass(frozen=True)
class Stop:
    """A message: end, for this reason; ``keep`` the video made so far, or drop it."""

    reason: str
    keep: bool = True


Message = Prompt | Playhead | Stop


_KINDS: dict[str, Callable[..., Message]] = {kind.__name__: kind for kind in (Prompt, Playhead, Stop)}


def put_off(message: Message, begun: int) -> Message:
    """The message; a prompt for a chunk that has begun is for the next one instead."""
    if isinstance(message, Prompt) and message.chunk <= begun:
        return replace(message, chunk=begun + 1)
    return message


def gives_way(old: Message, new: Message) -> bool:
    """Whether nobody need read ``old`` once ``new`` has come."""
    return isinstance(old, Playhead) and isinstance(new, Playhead)


def add_prompt(waiting: list[Prompt], prompt: Prompt) -> list[Prompt]:
    """The prompts that wait once ``prompt`` has come: a viewer's own word ends the script."""
    return [*(other for other in waiting if prompt.scripted or not other.scripted), prompt]
