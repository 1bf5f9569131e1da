"""The storyboard: a table of the prompts that were shown, and of those to come, which can be changed.

Its value is the list of prompts that come after the one in the prompt box when a video is started. It is a
table of our own: gr.Dataframe sends whole tables, and knows neither rows nor the moment at which one cannot
be changed any more.
"""

from typing import Any

import gradio as gr

from longlive.web.components import RawJSON
from longlive.web.endpoints.storyboard import StoryboardEndpoint
from longlive.web.panels.panel import PageContext, PanelView

ROWS = {
    "type": "array",
    "items": {
        "type": "object",
        "description": 'such as {"at": 4, "text": "the ball jumps", "switch": "soft"}',
    },
}


def add(context: PageContext) -> None:
    """Add the table, as ``later`` of the page's parts, and the endpoint ``/storyboard``."""
    endpoint = StoryboardEndpoint(context.endpoints)

    def storyboard(question: dict[str, Any]) -> dict[str, Any]:
        return endpoint.storyboard_on_page(question)

    def read_storyboard(question: dict[str, Any]) -> dict[str, Any]:
        return endpoint.read_storyboard(question)

    context.parts["later"] = PanelView(
        "panels/storyboard.html",
        ["panels/storyboard_rows.js", "panels/storyboard.js"],
        schema=ROWS,
        value=[],
        label="later",
        elem_id="storyboard",
        server_functions=[storyboard, read_storyboard],
    )
    prompts = RawJSON(schema=ROWS, label="prompts", visible=False)
    table = gr.JSON(label="storyboard", visible=False)
    context.add_call("storyboard", endpoint.storyboard, [prompts], [table])
