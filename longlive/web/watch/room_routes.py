"""What belongs to the room alone: its files for everybody, and its operator's calls.

GET /room/video?take=T              the run T so far, as MP4; without T, the one that is shown
GET /room/session?take=T            its session file, likewise
POST /room/operator/ACTION          ``pause``, ``resume``, ``skip`` (the present prompt), ``remove`` and
                                    ``mute`` (who made it) with {"number": 3}, the number of a proposal

The operator's calls want ``Authorization: Bearer TOKEN``, and answer with what ``Room.describe`` says. Where
the operator has set no token, they are not there.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from longlive.audience.room import Room
from longlive.errors import PromptError
from longlive.files import name_of_video
from longlive.serving.runs.run import Run
from longlive.web.live import bearer_token
from longlive.web.review import error_answer, video_answer
from longlive.web.watch.routes import UNKNOWN, audience_of

NOT_HERE = "There is no such page."
_HEADERS = {"Cache-Control": "no-store"}
_ACTIONS: dict[str, Callable[[Room], None]] = {"pause": Room.pause, "resume": Room.resume, "skip": Room.skip}
_ON_PROPOSALS: dict[str, Callable[[Room, int], None]] = {"remove": Room.remove, "mute": Room.mute}

Answer = Callable[[Request, Room], Awaitable[Response]]


def room_routes() -> list[Route]:
    """The routes, for ``page_options``; the page that is served must be one of ``build_page``."""
    return [
        Route("/room/video", _of_room(_video)),
        Route("/room/session", _of_room(_session)),
        Route("/room/operator/{action}", _of_room(_operate), methods=["POST"]),
    ]


def _of_room(answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        room = audience_of(request)
        return await answer(request, room) if isinstance(room, Room) else error_answer(404, UNKNOWN)

    return endpoint


async def _video(request: Request, room: Room) -> Response:
    run = room.find(request.query_params.get("take", ""))
    return error_answer(404, UNKNOWN) if run is None else await video_answer(run)


async def _session(request: Request, room: Room) -> Response:
    run = room.find(request.query_params.get("take", ""))
    return error_answer(404, UNKNOWN) if run is None else await asyncio.to_thread(_session_file, run)


def _session_file(run: Run) -> Response:
    record = run.store.record()
    if record is None:
        return error_answer(404, "Nothing of this video is stored yet.")
    name = quote(f"{name_of_video(record.prompts[0].text, run.seed)}.json")
    headers = _HEADERS | {"Content-Disposition": f"attachment; filename*=utf-8''{name}"}
    return Response(record.to_json(), media_type="application/json", headers=headers)


async def _operate(request: Request, room: Room) -> Response:
    action, wanted = request.path_params["action"], room.operator_token
    if not wanted or action not in _ACTIONS | _ON_PROPOSALS:
        return error_answer(404, NOT_HERE)
    if not hmac.compare_digest(bearer_token(request).encode(), wanted.encode()):
        return error_answer(401, "The operator's token is wrong.")
    number = (await request.json()).get("number")
    if action in _ON_PROPOSALS and number is None:
        return error_answer(422, "number must be that of a proposal.")
    try:
        await asyncio.to_thread(_act, room, action, number)
    except PromptError as error:
        return error_answer(404, str(error))
    return JSONResponse(room.describe(), headers=_HEADERS)


def _act(room: Room, action: str, number: Any) -> None:
    if action in _ACTIONS:
        _ACTIONS[action](room)
    else:
        _ON_PROPOSALS[action](room, number)
