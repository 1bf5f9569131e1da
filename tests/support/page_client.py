"""What programs and the player do with a page that is being served."""

import io
import json
from pathlib import Path
from typing import Any

import av
import httpx
from gradio_client import Client

from longlive.config import Size
from tests.support.fakes import PATIENT, Served, read_card

AS_JSON = {"Content-Type": "application/json"}


class PageClient(Client):
    """A program that talks to the page at ``url``."""

    def __init__(self, url: str) -> None:
        super().__init__(url, verbose=False, httpx_kwargs=PATIENT)

    def close(self) -> None:
        """End its heartbeat, without the second that Gradio's client waits for that."""
        self._kill_heartbeat.set()


def cards_of(path_or_bytes: str | bytes) -> list[tuple[int, int]]:
    """(frame, prompt) of each picture of a video of test cards."""
    source = io.BytesIO(path_or_bytes) if isinstance(path_or_bytes, bytes) else path_or_bytes
    with av.open(source) as video:
        return [read_card(picture.to_ndarray(format="rgb24")) for picture in video.decode(video=0)]


def size_of(path: str | Path) -> Size:
    """Width and height of a video file's pictures."""
    with av.open(str(path)) as file:
        return file.streams.video[0].width, file.streams.video[0].height


def call_component(served: Served, client: Client, name: str, value: Any, elem_id: str = "player") -> Any:
    """What a component in the browser, the player or another, gets from its function on the server."""
    parts = client.config["components"]
    number = next(one["id"] for one in parts if one["props"].get("elem_id") == elem_id)
    asked = {"data": value, "component_id": number, "fn_name": name, "session_hash": client.session_hash}
    answer = httpx.post(
        f"{served.url}gradio_api/component_server/", content=json.dumps(asked), headers=AS_JSON
    )
    assert answer.status_code == 200, answer.text
    return answer.json()
