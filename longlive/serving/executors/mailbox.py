"""Messages to a run, and the one way by which they reach it."""

import threading
from typing import Protocol

from longlive.serving.executors.messages import Message, gives_way, put_off


class Mailbox(Protocol):
    """The one way by which messages reach a run: many may post, one at a time polls and begins chunks.

    A playhead that nobody has read gives way to a newer one; no other message is ever dropped.
    """

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
            message = put_off(message, self._begun)
            unread = [old for old in self._messages if not gives_way(old, message)]
            self._messages = [*unread, message]
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
