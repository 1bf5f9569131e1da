"""The tab *Open and share*: session files, share links, and whether a video comes out the same again."""

from typing import Any

import gradio as gr

from longlive.web.components import RawJSON
from longlive.web.endpoints.sessions import SessionEndpoint
from longlive.web.panels.panel import PageContext, PanelView

_SESSION = {"type": "object", "description": "content of a session file; or as text, or as a data URL"}
_SOURCE = "() => window.longliveSource()"


def add(context: PageContext) -> None:
    """Add the panel, and the endpoints ``/verify``, ``/share_link`` and ``/open_link``."""
    sessions, parts = SessionEndpoint(context.endpoints), context.parts

    def describe(source: Any) -> dict[str, Any]:
        return sessions.describe(source)

    def share(question: Any) -> dict[str, str]:
        return sessions.share(question)

    view: Any = PanelView(
        "panels/sessions.html",
        ["panels/sessions.js"],
        label="open and share",
        elem_id="open-session",
        server_functions=[describe, share],
    )
    source = RawJSON(schema={"type": "object"}, label="source", visible=False)
    quietly: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "preprocess": False}
    quietly |= {"trigger_mode": "multiple", "inputs": source, "js": _SOURCE}
    view.play(sessions.play_on_page, outputs=parts["player"], **quietly)
    view.play_compatible(sessions.play_compatible, outputs=[parts["compatible"], parts["player"]], **quietly)
    session = RawJSON(schema=_SESSION, label="session", visible=False)
    link = gr.Textbox(label="link", visible=False)
    token = gr.Textbox(label="token", visible=False)
    verification = gr.JSON(label="verification", visible=False)
    context.add_call("verify", sessions.verify, [session], [*context.outputs, verification])
    context.add_call("open_link", sessions.open_link, [link], [*context.outputs, verification])
    context.add_call("share_link", sessions.share_link, [token], [link])
