"""End calls whose answers nobody reads: a client that calls and never opens its stream is treated as gone.

Gradio keeps every message of such a call, video included, for as long as the call runs. Here the call ends
after ``UNREAD_TIMEOUT_S`` and its messages go, as Gradio does itself for a stream that breaks.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

logger = logging.getLogger(__name__)

UNREAD_TIMEOUT_S = 60.0


class AbandonedCalls:
    """Knows which streams are open, and checks now and then for calls that nobody reads.

    A session is given up when it is unread at two checks in a row, half of ``UNREAD_TIMEOUT_S`` apart.
    """

    def __init__(self) -> None:
        """Begin without any call."""
        self._open: Counter[str] = Counter()
        self._unread: set[str] = set()
        self._is_scheduled = False

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """Count the stream of this session, or of this call, as open."""
        self._open[name] += 1
        try:
            yield
        finally:
            self._open[name] -= 1
            if not self._open[name]:
                del self._open[name]

    def on_call(self, queue: Any, session: str) -> None:
        """Schedule a check after a call, in the running event loop.

        Args:
            queue: Gradio's queue of the page.
            session: of the caller; empty if it named none.
        """
        self._unread.discard(session)
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_later(UNREAD_TIMEOUT_S / 2, self._begin_check, queue)

    def _begin_check(self, queue: Any) -> None:
        self._task = asyncio.get_running_loop().create_task(self._check(queue))

    async def _check(self, queue: Any) -> None:
        """End the calls of sessions that were unread at the last check, too."""
        self._is_scheduled = False
        unread = {name for name in queue.pending_messages_per_session if not self._is_read(name, queue)}
        abandoned = unread & self._unread
        for name in abandoned:
            queue.pending_messages_per_session.pop(name, None)
            await queue.clean_events(session_hash=name)
            queue.pending_event_ids_session.pop(name, None)
        if abandoned:
            logger.info("ended the calls of %d sessions: nobody read their answers", len(abandoned))
        self._unread = unread - abandoned
        if self._unread:
            self.on_call(queue, "")

    def _is_read(self, session: str, queue: Any) -> bool:
        calls = queue.pending_event_ids_session.get(session, ())
        return any(self._open[name] for name in (session, *calls))
