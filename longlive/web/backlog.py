"""What was sent to a viewer and not fetched: Gradio keeps it in memory without end, so somebody must look."""

import asyncio
from typing import Any

import gradio as gr

MOST_UNREAD = 16
UNREAD_S = 30.0
"""What nobody has fetched so long after its story's end is not fetched any more."""


def is_behind(request: gr.Request) -> bool:
    """Whether so much waits for the viewer's connection that no more should be sent."""
    queue, session = _queue(request), request.session_hash
    messages = queue.pending_messages_per_session.get(session) if queue is not None else None
    return messages is not None and messages.qsize() >= MOST_UNREAD


def drop_unread(request: gr.Request) -> None:
    """Forget what waits for a connection that never came; while something is made for it still, later."""
    queue, session = _queue(request), request.session_hash
    if queue is None:
        return
    if any(one.session_hash == session for one in queue.event_ids_to_events.values()):
        drop_unread_soon(request)
        return
    queue.pending_messages_per_session.pop(session, None)
    queue.pending_event_ids_session.pop(session, None)


def drop_unread_soon(request: gr.Request) -> None:
    """The same, once the viewer has had time to fetch it; in the server's loop."""
    asyncio.get_running_loop().call_later(UNREAD_S, drop_unread, request)


def _queue(request: gr.Request) -> Any:
    """Gradio's queue, which has what waits for each session; None outside of a server."""
    house = getattr(request.request, "app", None)
    return house.get_blocks()._queue if house is not None else None
