"""Answers that nobody fetches: a program that calls and never opens its stream is treated as one that left.

Gradio keeps all that such a call says, pictures included, for as long as it runs. Here the call ends after a
while and what it said goes, as Gradio itself does it for a stream that breaks.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

logger = logging.getLogger(__name__)

PATIENCE_S = 60.0


class AbandonedCalls:
    """Which streams are open, and a look now and then for those that should be."""

    def __init__(self) -> None:
        """Nothing was called yet."""
        self._open: Counter[str] = Counter()
        self._suspects: set[str] = set()
        self._is_looking = False

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """While the stream of this session, or of this call, is open."""
        self._open[name] += 1
        try:
            yield
        finally:
            self._open[name] -= 1
            if not self._open[name]:
                del self._open[name]

    def called(self, queue: Any, session: str) -> None:
        """Something was called: look after it, twice, in the event loop that serves it.

        Args:
            queue: Gradio's, of the page.
            session: that called, if it said so.
        """
        self._suspects.discard(session)
        if not self._is_looking:
            self._is_looking = True
            asyncio.get_running_loop().call_later(PATIENCE_S / 2, self._begin_look, queue)

    def _begin_look(self, queue: Any) -> None:
        self._task = asyncio.get_running_loop().create_task(self._look(queue))

    async def _look(self, queue: Any) -> None:
        """End the calls of sessions that nobody read at the last look either."""
        self._is_looking = False
        unread = {name for name in queue.pending_messages_per_session if not self._is_read(name, queue)}
        for name in unread & self._suspects:
            queue.pending_messages_per_session.pop(name, None)
            await queue.clean_events(session_hash=name)
            queue.pending_event_ids_session.pop(name, None)
        if unread & self._suspects:
            logger.info("%d calls ended, since nobody read their answers", len(unread & self._suspects))
        self._suspects = unread - self._suspects
        if self._suspects:
            self.called(queue, "")

    def _is_read(self, session: str, queue: Any) -> bool:
        calls = queue.pending_event_ids_session.get(session, ())
        return any(self._open[name] for name in (session, *calls))
