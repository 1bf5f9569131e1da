"""``/live/ID.m3u8``: the video of an audience as HTTP Live Streaming, for players elsewhere and for CDNs.

GET /live/ID.m3u8               the playlist; ``_HLS_msn=N`` (RFC 8216bis, 6.2.5.2) waits until it has
                                segment N, ``WAIT_S`` at most; 400 if N is far beyond
GET /live/ID/CHUNK-DIGEST.ts    a segment, which never changes

ID is that of an open audience: ``room``, or what stands in a link. For any other, and for segments that are
not kept, the answer is 404, always the same. Pages of other sites may read both; nothing here goes by a
cookie or a token. All players of a playlist count as one who watches, since a CDN may stand before them.
"""

import asyncio
import contextlib
import re
import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from longlive.audience.audience import Audience
from longlive.audience.hls import MIN_INTERVAL_S, HlsPlaylist, HlsPlaylists
from longlive.errors import BusyError
from longlive.web.watch.routes import audience_of

WAIT_S = 3.0
LEAVE_S = 15.0
MAX_WAITING = 1000
"""Requests that wait at once; others are answered with what there is."""
_ANYWHERE = {"Access-Control-Allow-Origin": "*"}
_PLAYLIST = _ANYWHERE | {"Cache-Control": "no-cache"}
_SEGMENT = _ANYWHERE | {"Cache-Control": "public, max-age=31536000, immutable"}
_ERROR = _ANYWHERE | {"Cache-Control": "no-store"}
_NUMBER = re.compile("[0-9]{1,10}")


def hls_routes() -> list[Route]:
    """The routes, for ``page_options``; the page that is served must be one of ``build_page``."""
    server = _HlsServer()
    return [
        Route("/live/{id}.m3u8", server.send_playlist),
        Route("/live/{id}/{name}.ts", server.send_segment),
    ]


class _HlsServer:
    """Answers the requests of all players; those that wait for the same playlist share its updates."""

    def __init__(self) -> None:
        self._playlists = HlsPlaylists()
        self._updates: dict[HlsPlaylist, asyncio.Task[None]] = {}
        self._joined: dict[Audience, asyncio.Task[None]] = {}
        self._asked_at: dict[Audience, float] = {}
        self._num_waiting = 0

    async def send_playlist(self, request: Request) -> Response:
        """Answer with a playlist."""
        audience = audience_of(request)
        if audience is None:
            return _not_found()
        asked = request.query_params.get("_HLS_msn")
        if asked is not None and not _NUMBER.fullmatch(asked):
            return Response("_HLS_msn must be the number of a segment.\n", 400, _ERROR, "text/plain")
        self._join(audience)
        playlist = self._playlists.of(audience)
        await asyncio.to_thread(playlist.update)
        if asked is not None:
            if int(asked) > playlist.next_number + 1:
                return Response("_HLS_msn is too far ahead.\n", 400, _ERROR, "text/plain")
            await self._wait_for(playlist, int(asked))
        if not audience.is_open:
            return _not_found()
        return Response(playlist.text(), 200, _PLAYLIST, "application/vnd.apple.mpegurl")

    async def send_segment(self, request: Request) -> Response:
        """Answer with a segment."""
        audience = audience_of(request)
        data = self._playlists.of(audience).segment(request.path_params["name"]) if audience else None
        return _not_found() if data is None else Response(data, 200, _SEGMENT, "video/mp2t")

    def _join(self, audience: Audience) -> None:
        """All players together count as one who watches, until none has asked for ``LEAVE_S``."""
        self._asked_at[audience] = time.monotonic()
        if audience not in self._joined:
            self._joined[audience] = asyncio.create_task(self._stay(audience))

    async def _stay(self, audience: Audience) -> None:
        try:
            with contextlib.suppress(BusyError), audience.join():
                while (left_s := self._asked_at[audience] + LEAVE_S - time.monotonic()) > 0:
                    await asyncio.sleep(left_s)
        finally:
            del self._joined[audience], self._asked_at[audience]

    async def _wait_for(self, playlist: HlsPlaylist, number: int) -> None:
        """Return when a playlist has this segment or is over, or after ``WAIT_S``."""
        if self._num_waiting >= MAX_WAITING:
            return
        self._num_waiting += 1
        until = time.monotonic() + WAIT_S
        try:
            while playlist.next_number <= number and not playlist.is_over and time.monotonic() < until:
                await self._next_update(playlist)
        finally:
            self._num_waiting -= 1

    async def _next_update(self, playlist: HlsPlaylist) -> None:
        """Return when a playlist has changed, or after a second or so."""
        if playlist not in self._updates:
            self._updates[playlist] = task = asyncio.create_task(_update(playlist))
            task.add_done_callback(lambda _: self._updates.pop(playlist, None))
        await asyncio.shield(self._updates[playlist])


async def _update(playlist: HlsPlaylist) -> None:
    for _ in range(round(1 / MIN_INTERVAL_S)):
        await asyncio.sleep(MIN_INTERVAL_S)
        if await asyncio.to_thread(playlist.update):
            return


def _not_found() -> Response:
    return Response("There is no such video.\n", 404, _ERROR, "text/plain")
