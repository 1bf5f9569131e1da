"""How messages reach a run that is being made."""

import threading
from typing import Protocol

from longlive.serving.executors.messages import Message, Prompt, Reschedule, supersedes
from longlive.serving.runs.prompt_schedule import defer, defer_all


class Mailbox(Protocol):
    """The one way to send messages to a run: many may post; one at a time polls and starts chunks.

    An unread playhead is replaced by a newer one; no other message is ever dropped.
    """

    def post(self, message: Message) -> Message:
        """Leave a message; returns it, prompts moved to the first chunk that has not started.

        A Reschedule that is late is returned, but not left.
        """

    def poll(self, timeout: float = 0.0) -> list[Message]:
        """All messages since the last poll, in order; waits up to ``timeout`` seconds for one."""

    @property
    def started_chunk(self) -> int:
        """The chunk that was started last; -1 before the first."""

    def start_chunk(self, chunk: int) -> list[Message]:
        """Poll, and from the same moment on schedule prompts for chunks after ``chunk`` only."""


class MemoryMailbox:
    """A mailbox between threads of one process; see Mailbox."""

    def __init__(self, started_chunk: int = -1) -> None:
        """An empty mailbox."""
        self._changed = threading.Condition()
        self._messages: list[Message] = []
        self._started_chunk = started_chunk

    @property
    def started_chunk(self) -> int:
        """The chunk that was started last; -1 before the first."""
        return self._started_chunk

    def post(self, message: Message) -> Message:
        """Leave a message unless it is late; returns it, prompts moved to the first chunk not started."""
        with self._changed:
            message = deferred(message, self._started_chunk)
            if is_refused(message):
                return message
            self._messages = [old for old in self._messages if not supersedes(message, old)] + [message]
            self._changed.notify_all()
            return message

    def poll(self, timeout: float = 0.0) -> list[Message]:
        """All messages since the last poll, in order; waits up to ``timeout`` seconds for one."""
        with self._changed:
            self._changed.wait_for(lambda: self._messages, timeout)
            messages, self._messages = self._messages, []
            return messages

    def start_chunk(self, chunk: int) -> list[Message]:
        """Poll, and from the same moment on schedule prompts for chunks after ``chunk`` only."""
        with self._changed:
            self._started_chunk = chunk
            return self.poll()


def deferred(message: Message, started_chunk: int) -> Message:
    """``message``; its prompts are moved to the first chunks that have not started."""
    if isinstance(message, Reschedule):
        return defer_all(message, started_chunk)
    return defer(message, started_chunk) if isinstance(message, Prompt) else message


def is_refused(message: Message) -> bool:
    """Whether a message that was deferred came too late to be left."""
    return isinstance(message, Reschedule) and message.is_late
