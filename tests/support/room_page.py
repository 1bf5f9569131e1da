"""A page with a room, and browsers without a screen that take part."""

from typing import Any

import httpx

from longlive.audience.room import Room
from longlive.audience.room_options import RoomOptions
from longlive.generation.storyboard import Scene
from tests.support.fakes import Served

TOKEN = "a-token-of-the-operator"
OPTIONS = RoomOptions(
    scenes=(Scene(0, "a red ball stands"), Scene(1, "the red ball jumps")),
    refuse=lambda text: "Not here." if "bad" in text else None,
    round_s=3600,
    rest_s=3600,
    voices_per_address=3,
    operator_token=TOKEN,
)


def browser(served: Served) -> httpx.Client:
    """One that keeps its cookies."""
    return httpx.Client(base_url=served.url, timeout=60)


def propose(client: httpx.Client, text: Any, id: str = "room") -> httpx.Response:
    return client.post(f"/watch/{id}/propose", json={"text": text})


def room_of(served: Served) -> Room:
    room = served.page.endpoints.audiences.find("room")
    assert isinstance(room, Room)
    return room
