"""The prompts of a session: which are in use, which are still to come."""

from collections.abc import Sequence

from longlive.chunks import SwitchMode
from longlive.generation.session_file import PromptEvent
from longlive.prompts import PromptText


class PromptTimeline:
    """Prompts by the chunk where each takes effect. Those already in use never change; the others may."""

    def __init__(self, events: Sequence[PromptEvent]) -> None:
        """Begin before the first of ``events``, which are in order of their chunks."""
        self._events = list(events)
        self._num_used = 0

    @property
    def events(self) -> tuple[PromptEvent, ...]:
        """All prompts, those still to come included."""
        return tuple(self._events)

    @property
    def current(self) -> PromptEvent:
        """The prompt in use; there is one once ``advance`` has been called."""
        return self._events[self.index]

    @property
    def index(self) -> int:
        """Number of the prompt in use, from 0; -1 if there is none yet."""
        return self._num_used - 1

    @property
    def num_pending(self) -> int:
        """How many prompts are not in use yet."""
        return len(self._events) - self._num_used

    def due(self, chunk: int) -> PromptEvent | None:
        """The prompt that takes effect at this chunk, if any; it is in use once ``advance`` is called."""
        pending = self._events[self._num_used :][:1]
        return pending[0] if pending and pending[0].chunk <= chunk else None

    def switch_at(self, chunk: int) -> SwitchMode | None:
        """How the prompt in use took effect, if it did so with this chunk."""
        return self.current.switch if self.current.chunk == chunk else None

    def advance(self) -> None:
        """Begin to use the next prompt."""
        self._num_used += 1

    def drop_pending(self, *, keep: int = 0) -> None:
        """Drop the prompts that are not in use yet, all but the first ``keep`` of them."""
        del self._events[self._num_used + keep :]

    def append(self, text: PromptText, switch: SwitchMode, *, next_chunk: int) -> PromptEvent:
        """Add a prompt at the first free chunk from ``next_chunk`` on; return it.

        If there is no other prompt, it becomes the first one of the session.
        """
        if self._events:
            event = PromptEvent(max(next_chunk, self._events[-1].chunk + 1), text, switch)
        else:
            event = PromptEvent(0, text, None)
        self._events.append(event)
        return event
