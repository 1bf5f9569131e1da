"""Backpressure: a viewer who does not fetch messages is sent no more, since Gradio keeps them in memory.

Streams that nobody ever opens are ended by ``middleware/abandoned_calls.py``.
"""

import gradio as gr

MAX_UNREAD = 16


def is_behind(request: gr.Request) -> bool:
    """Whether ``MAX_UNREAD`` messages or more wait for the viewer's connection."""
    app = getattr(request.request, "app", None)
    if app is None:
        return False
    messages = app.get_blocks()._queue.pending_messages_per_session.get(request.session_hash)
    return messages is not None and messages.qsize() >= MAX_UNREAD
