"""One numbered, bounded log of events per run; followers keep a cursor and ask what came after it.

log.append(event)                  # from the thread that makes it
log.since(cursor)                  # from any follower: (number, event) pairs, oldest first
with log.notify(wake): ...         # wake() is called after every append
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Event = TypeVar("Event")


class EventLog(Generic[Event]):
    """Events numbered from 1; the newest ``capacity`` are kept. Safe to use from several threads."""

    def __init__(self, capacity: int) -> None:
        """An empty log for at most ``capacity`` events (at least 1)."""
        self._events: deque[tuple[int, Event]] = deque()
        self._capacity = capacity
        self._changed = threading.Condition()
        self._wakers: list[Callable[[], object]] = []
        self._last = self._read = 0

    @property
    def last(self) -> int:
        """Number of the newest event; 0 before the first."""
        return self._last

    def append(self, event: Event) -> int:
        """Add an event and wake the followers; returns how many events nobody read were dropped for it."""
        with self._changed:
            self._last += 1
            self._events.append((self._last, event))
            num_unread = 0
            while len(self._events) > self._capacity:
                number, _ = self._events.popleft()
                num_unread += number > self._read
            self._changed.notify_all()
            wakers = tuple(self._wakers)
        for wake in wakers:
            wake()
        return num_unread

    def since(self, cursor: int, *, timeout: float = 0.0) -> list[tuple[int, Event]]:
        """The events with numbers above ``cursor`` that are still kept, oldest first.

        Args:
            cursor: number of the last event that the follower knows; 0 for all.
            timeout: seconds to wait while there is none.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._last <= cursor and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            found = [pair for pair in self._events if pair[0] > cursor]
            if found:
                self._read = max(self._read, found[-1][0])
            return found

    def kept(self) -> list[tuple[int, Event]]:
        """All events that are kept, oldest first; does not count as reading them."""
        with self._changed:
            return list(self._events)

    @contextmanager
    def notify(self, wake: Callable[[], object]) -> Iterator[None]:
        """Call ``wake`` after every append, in the thread that appends; it must be quick."""
        with self._changed:
            self._wakers.append(wake)
        try:
            yield
        finally:
            with self._changed:
                self._wakers.remove(wake)
