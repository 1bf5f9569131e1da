"""``/watch/ID``: the page behind a link, and what it reads; ``/room`` is that of the audience ``room``.

GET /watch/ID                        the page; 404, with the same page, where the link leads nowhere
GET /watch/ID/live?chunk=12&take=T   frames like those of ``/live``, from chunk 12 of the run T on; without
                                     them, from what the owner sees
GET /watch/ID/segments?chunk=3       as ``/segments``, of what the owner has begun to see
GET /watch/ID/thumbnails?first=0     as ``/thumbnails``, likewise
/watch/ID/propose, vote, voice       see voting.py
GET /watch/assets/DIGEST/NAME        the page's script and style, which never change

No answer says more of an unknown id than another one, and none holds anything with which the run could be
changed. The messages:

hello      ``take``, ``chunk``, ``second``, ``size``, ``spans``, and what ``Audience.describe`` says:
           what a player has from that chunk on is replaced by what follows; another take is another video
segment    as the owner has it; ``rewind`` likewise
state      at least once a second: ``state``, ``at`` (the second that the owner sees), ``is_playing``,
           ``watching``
news       what ``Audience.describe`` says, when it has changed
closed     the last one
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from longlive.audience.audience import ROOM, Audience
from longlive.errors import BusyError
from longlive.web.review import error_answer, segments_answer, thumbnails_answer
from longlive.web.watch.broadcast import Broadcasts
from longlive.web.watch.page import ASSETS, page_answer, send_asset
from longlive.web.watch.watched_run import num_seen

UNKNOWN = "There is nothing to watch here: the link is wrong, or the video was closed or has gone."
_NUMBER = re.compile("[0-9]{1,6}")
_TAKE = re.compile("[0-9a-f]{0,64}")
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

Answer = Callable[[Request, Audience], Awaitable[Response]]


def watch_routes() -> list[Route]:
    """The routes, for ``page_options``; the page that is served must be one of ``build_page``."""
    broadcasts = Broadcasts()

    async def live(request: Request, audience: Audience) -> Response:
        return await _live(request, broadcasts, audience)

    return [
        Route("/room", _page),
        Route(f"{ASSETS}/{{digest}}/{{name}}", send_asset),
        Route("/watch/{id}", _page),
        Route("/watch/{id}/live", of_audience(live)),
        Route("/watch/{id}/segments", of_audience(_segments)),
        Route("/watch/{id}/thumbnails", of_audience(_thumbnails)),
    ]


def audience_of(request: Request) -> Audience | None:
    """The open audience that a request names."""
    endpoints: Any = getattr(request.app.get_blocks(), "endpoints", None)
    id: str = request.path_params.get("id", ROOM)
    return cast(Audience | None, endpoints.audiences.find(id)) if endpoints else None


def of_audience(answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that gives ``answer`` the audience that a request names."""

    async def endpoint(request: Request) -> Response:
        audience = audience_of(request)
        return error_answer(404, UNKNOWN) if audience is None else await answer(request, audience)

    return endpoint


async def _page(request: Request) -> Response:
    return page_answer(request, 404 if audience_of(request) is None else 200)


async def _live(request: Request, broadcasts: Broadcasts, audience: Audience) -> Response:
    chunk, take = request.query_params.get("chunk"), request.query_params.get("take", "")
    if (chunk is not None and not _NUMBER.fullmatch(chunk)) or not _TAKE.fullmatch(take):
        return error_answer(422, "chunk must be the number of a chunk, and take the name of a video.")
    if request.method == "HEAD":
        return Response(media_type="application/octet-stream", headers=_HEADERS)
    frames = broadcasts.of(audience).follow(None if chunk is None else int(chunk), take)
    try:
        first = await anext(frames)
    except BusyError as error:
        return error_answer(503, str(error))
    body = _with_first(first, frames)
    return StreamingResponse(body, media_type="application/octet-stream", headers=_HEADERS)


async def _with_first(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for frame in others:
        yield frame


async def _segments(request: Request, audience: Audience) -> Response:
    chunk = request.query_params.get("chunk", "")
    if not _NUMBER.fullmatch(chunk):
        return error_answer(422, "chunk must be the number of a chunk, from 0 to 999999.")
    run = audience.run
    seen = num_seen(run)
    if int(chunk) >= seen:
        shown = f"chunks 0 to {seen - 1} were" if seen else "none was yet"
        return error_answer(404, f"Chunk {chunk} was not shown yet: {shown}.")
    return await asyncio.to_thread(segments_answer, run, int(chunk))


async def _thumbnails(request: Request, audience: Audience) -> Response:
    first = request.query_params.get("first", "")
    if not _NUMBER.fullmatch(first):
        return error_answer(422, "first must be the number of a chunk, from 0 to 999999.")
    run = audience.run
    return await asyncio.to_thread(thumbnails_answer, run, int(first), num_seen(run))
