"""What was sent to a viewer and not fetched: Gradio keeps it in memory without end, so somebody must look.

Of a stream that nobody opens ``unread.py`` lets go; here no more is sent than a viewer fetches.
"""

import gradio as gr

MOST_UNREAD = 16


def is_behind(request: gr.Request) -> bool:
    """Whether so much waits for the viewer's connection that no more should be sent."""
    house = getattr(request.request, "app", None)
    if house is None:
        return False
    messages = house.get_blocks()._queue.pending_messages_per_session.get(request.session_hash)
    return messages is not None and messages.qsize() >= MOST_UNREAD
