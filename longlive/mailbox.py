"""Messages to a run, and the one way by which they reach it."""

import threading
from dataclasses import dataclass, replace
from typing import Protocol

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


class Mailbox(Protocol):
    """The one way by which messages reach a run."""

    def post(self, message: Message) -> Message:
        """Leave a message; a prompt is put off to the first chunk that has not begun, and returned so."""

    def poll(self, timeout: float = 0.0) -> list[Message]:
        """All messages since the last poll, in order; waits up to ``timeout`` seconds for one."""

    @property
    def begun(self) -> int:
        """The chunk that has begun last; -1 before the first."""

    def begin(self, chunk: int) -> list[Message]:
        """Poll, and from the same moment on promise prompts for later chunks than ``chunk`` only."""


class MemoryMailbox:
    """The mailbox between threads of one process."""

    def __init__(self, begun: int = -1) -> None:
        """Start empty; ``begun`` is the chunk that has begun last."""
        self._changed = threading.Condition()
        self._messages: list[Message] = []
        self._begun = begun

    @property
    def begun(self) -> int:
        """As in Mailbox."""
        return self._begun

    def post(self, message: Message) -> Message:
        """As in Mailbox."""
        with self._changed:
            if isinstance(message, Prompt) and message.chunk <= self._begun:
                message = replace(message, chunk=self._begun + 1)
            self._messages.append(message)
            self._changed.notify_all()
            return message

    def poll(self, timeout: float = 0.0) -> list[Message]:
        """As in Mailbox."""
        with self._changed:
            self._changed.wait_for(lambda: self._messages, timeout)
            messages, self._messages = self._messages, []
            return messages

    def begin(self, chunk: int) -> list[Message]:
        """As in Mailbox."""
        with self._changed:
            self._begun = chunk
            return self.poll()


def add_prompt(waiting: list[Prompt], prompt: Prompt) -> list[Prompt]:
    """The prompts that wait once ``prompt`` has come: a viewer's own word ends the script."""
    return [*(other for other in waiting if prompt.scripted or not other.scripted), prompt]
