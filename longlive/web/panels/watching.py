"""The tab *Watch along*: others may watch the video, propose prompts, and are seen to."""

from typing import Any

import gradio as gr

from longlive.web.components import RawJSON
from longlive.web.endpoints.watching import WatchingEndpoint
from longlive.web.panels.panel import PageContext, PanelView


def add(context: PageContext) -> None:
    """Add the panel, and ``/watch_along`` for programs."""
    watching = WatchingEndpoint(context.endpoints)

    def watch_along(question: Any) -> dict[str, Any]:
        return watching.watch_along_on_page(question)

    def offer(question: Any) -> dict[str, Any]:
        return watching.offer(question)

    PanelView(
        "panels/watching.html",
        ["routes.js", "panels/watching.js"],
        label="watch along",
        elem_id="watch-along",
        server_functions=[watch_along, offer],
    )
    names = ("is open", "takes proposals", "is listed")
    wanted = [RawJSON(schema={"type": "boolean"}, label=name, visible=False) for name in names]
    answer = gr.JSON(label="audience", visible=False)
    context.add_call("watch_along", watching.watch_along, wanted, [answer])
