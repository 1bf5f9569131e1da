"""``/live``: the messages of a run to its player in a browser, over one connection, pictures as they are.

GET /live?after=12&player=NAME with ``Authorization: Bearer TOKEN`` answers with frames until the run ends:

    bytes 0 to 3    length of the message, 4 to 7 length of the data, both unsigned and big-endian
    then            the message as JSON, and the data: H.264 of a segment, or nothing

Both lengths are 0 in the frame that is sent while there is nothing else, so that the player can tell a slow
connection (some bytes come) from a slow server (only such frames come) and from a broken one (nothing comes).
A player that was cut off connects again with the number of the last message that it has.
"""

import json
import re
import struct
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from longlive.chunks import MediaSegment
from longlive.web.viewer_stream import Message, ViewerStream

PATH = "/live"
IDLE = struct.pack(">II", 0, 0)
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_PLAYER = re.compile(r"[\w-]{1,64}")
_NUMBER = re.compile("[0-9]{1,9}")


def live_route() -> Route:
    """The route, for ``page_options``; the page that is served must be one of ``build_page``."""
    return Route(PATH, _live)


def frame(message: Message, segment: MediaSegment | None) -> bytes:
    """A message and its data as the player reads them; HLS players get their data elsewhere."""
    return pack_frame(message, segment.data if segment is not None and message["mode"] == "live" else b"")


def pack_frame(message: Message, data: bytes) -> bytes:
    """One frame."""
    header = json.dumps(message).encode()
    return struct.pack(">II", len(header), len(data)) + header + data


async def _live(request: Request) -> Response:
    after, player = request.query_params.get("after", ""), request.query_params.get("player", "")
    if not _NUMBER.fullmatch(after) or not _PLAYER.fullmatch(player):
        detail = "after must be the number of a message, and player a name of letters, digits and hyphens."
        return JSONResponse({"detail": detail}, 422)
    stream = _stream(request)
    if stream is None:
        return JSONResponse({"detail": "There is no video with this token."}, 404)
    frames = _frames(stream, int(after), player)
    return StreamingResponse(frames, media_type="application/octet-stream", headers=_HEADERS)


def bearer_token(request: Request) -> str:
    """The token that a request brings; empty if it brings none."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token if kind.lower() == "bearer" else ""


def _stream(request: Request) -> ViewerStream | None:
    endpoints: Any = getattr(request.app.get_blocks(), "endpoints", None)
    if not (token := bearer_token(request)) or endpoints is None:
        return None
    stream: ViewerStream | None = endpoints.stream_of(token)
    return stream


async def _frames(stream: ViewerStream, after: int, player: str) -> AsyncIterator[bytes]:
    """The frames of all messages, each with what else on the page has changed."""
    shown: Message = {}
    yield IDLE
    async for found in stream.play(after, player):
        message, segment = found or ({"kind": "page", "serial": after}, None)
        after, page = message["serial"], _page(stream)
        changed = {name: value for name, value in page.items() if shown.get(name) != value}
        shown = page
        yield frame(message | changed, segment) if found or changed else IDLE


def _page(stream: ViewerStream) -> Message:
    """What the page shows beside the pictures; where the last prompt ends, the player knows itself."""
    timeline = stream.timeline()
    for span in timeline["spans"][-1:]:
        span["end"] = span["start"]
    page = {"status": stream.status, "timeline": timeline}
    verification = stream.verification()
    return page if verification is None else page | {"verification": verification}
