"""The tab with takes side by side: a prompt tried in all three ways, and any two or three takes in step."""

from typing import Any

import gradio as gr

from longlive.web.endpoints.compare import CompareEndpoint
from longlive.web.panels.panel import PageContext, PanelView

_SCRIPTS = ("routes.js", "connection.js", "stored_video.js", "panels/compare_players.js", "panels/compare.js")
_WHERE = "(token, chunk, prompt) => [...window.longliveCompare(), prompt]"
_QUIETLY: dict[str, Any] = {
    "show_progress": "hidden",
    "api_visibility": "private",
    "preprocess": False,
    "trigger_mode": "multiple",
}


def add(context: PageContext) -> None:
    """Add the panel, and ``/compare`` for programs."""
    compare = CompareEndpoint(context.endpoints)
    view = PanelView("panels/compare.html", _SCRIPTS, label="comparison", elem_id="compare")
    place = [gr.Textbox(label="token", visible=False), gr.Number(1, label="chunk", visible=False)]
    request = [*place, context.parts["prompt"]]
    view.compare(compare.compare_on_page, inputs=request, outputs=view, js=_WHERE, **_QUIETLY)
    view.cancel(compare.cancel, **_QUIETLY)
    files = gr.File(label="files", file_count="multiple", visible=False)
    outputs = [gr.JSON(label="progress", visible=False), files]
    context.add_call("compare", compare.compare, request, outputs)
