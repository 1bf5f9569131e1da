"""What those who watch propose and vote for.

POST /watch/ID/propose    {"text": "…"}: a prompt for the owner, or for a vote
POST /watch/ID/vote       {"number": 3}: for a proposal
GET /watch/ID/voice       ``vote``, the number of the proposal that this browser votes for, or null; and
                          ``now``, seconds since 1970, as for ``ends_at`` in ``Room.describe``

The first two answer with ``number``, ``text`` and ``votes`` of the proposal, and a cookie that names the
browser; refusals are ``{"detail": sentence}``. The proposals themselves come with the messages of ``live``.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from longlive.audience.audience import Audience
from longlive.audience.proposals import Proposal
from longlive.errors import PromptError
from longlive.web.middleware.client_address import address_of
from longlive.web.review import error_answer
from longlive.web.watch.routes import of_audience
from longlive.web.watch.voice_cookie import set_voice, voice_of

NO_PROPOSALS = "No prompts are asked for here just now."
_HEADERS = {"Cache-Control": "no-store"}


def voting_routes() -> list[Route]:
    """The routes, for ``page_options``; the page that is served must be one of ``build_page``."""
    return [
        Route("/watch/{id}/propose", of_audience(_propose), methods=["POST"]),
        Route("/watch/{id}/vote", of_audience(_vote), methods=["POST"]),
        Route("/watch/{id}/voice", of_audience(_voice)),
    ]


async def _propose(request: Request, audience: Audience) -> Response:
    text = (await request.json())["text"]
    return await _heard(request, audience, lambda voice, place: audience.propose(voice, place, text))


async def _vote(request: Request, audience: Audience) -> Response:
    number = (await request.json())["number"]
    return await _heard(request, audience, lambda voice, place: audience.vote(voice, place, number))


async def _voice(request: Request, audience: Audience) -> Response:
    vote = audience.proposals.vote_of(voice_of(request, _folder(request)))
    return JSONResponse({"vote": vote, "now": time.time()}, headers=_HEADERS)


async def _heard(request: Request, audience: Audience, act: Callable[[str, str], Proposal]) -> Response:
    """The answer to what a voice does; a browser that has none is given one."""
    if not audience.takes_proposals:
        return error_answer(403, NO_PROPOSALS)
    folder = _folder(request)
    voice = voice_of(request, folder)
    try:
        proposal = await asyncio.to_thread(act, voice, address_of(request))  # a room writes it down
    except PromptError as error:
        response = error_answer(422, str(error))
    else:
        answer = {"number": proposal.number, "text": proposal.text, "votes": proposal.votes}
        response = JSONResponse(answer, headers=_HEADERS)
    set_voice(response, request, voice, folder)  # also where it was refused: it has taken a place
    return response


def _folder(request: Request) -> Any:
    return request.app.get_blocks().endpoints.engine.folder
