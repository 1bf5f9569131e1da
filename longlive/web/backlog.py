"""What was sent to a viewer and not fetched: Gradio keeps it in memory without end, so somebody must look."""

from asyncio import Queue
from typing import Any

import gradio as gr

MOST_UNREAD = 16


def is_behind(request: gr.Request) -> bool:
    """Whether so much waits for the viewer's connection that no more should be sent."""
    queue = _queue(request)
    return queue is not None and queue.qsize() >= MOST_UNREAD


def drop_unread(request: gr.Request) -> None:
    """Throw away what waits for a connection that never came."""
    queue = _queue(request)
    while queue is not None and not queue.empty():
        queue.get_nowait()


def _queue(request: gr.Request) -> "Queue[Any] | None":
    """What waits for the session of a request, in Gradio; None where nothing does."""
    house = getattr(request.request, "app", None)
    if house is None or request.session_hash is None:
        return None
    messages = house.get_blocks()._queue.pending_messages_per_session
    return messages.get(request.session_hash)
