"""The tab *Room*: what is shown in the public room now, the way there, and a video of one's own from it."""

from typing import Any

import gradio as gr

from longlive.audience.room import Room
from longlive.web.components import RawJSON
from longlive.web.endpoints.room import RoomEndpoint
from longlive.web.panels.panel import PageContext, PanelView

_PLACE = "() => window.longliveRoomPlace()"


def add(context: PageContext, room: Room) -> None:
    """Add the panel, and the endpoint ``/branch_room``."""
    endpoint, parts = RoomEndpoint(context.endpoints, room), context.parts

    def describe(question: Any) -> dict[str, Any]:
        return endpoint.describe(question)

    view: Any = PanelView(
        "panels/room_tab.html",
        ["routes.js", "panels/room_tab.js"],
        label="room",
        elem_id="room-now",
        server_functions=[describe],
    )
    view.play(
        endpoint.branch_on_page,
        inputs=RawJSON(schema={"type": "object"}, label="place", visible=False),
        outputs=parts["player"],
        js=_PLACE,
        show_progress="hidden",
        api_visibility="private",
        preprocess=False,
        trigger_mode="multiple",
    )
    take, chunk = gr.Textbox(label="take", visible=False), gr.Number(1, label="chunk", visible=False)
    inputs = [take, chunk, parts["prompt"], parts["switch"], parts["seed"]]
    context.add_call("branch_room", endpoint.branch, inputs, context.outputs)
