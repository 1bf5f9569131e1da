"""What the house tells the world: ``/health`` for whoever restarts it, ``/metrics`` for Prometheus.

page.launch(**page_options(routes_of(engine.status, engine.metrics)))

They are routes of the app that ``launch`` serves, before Gradio's own. They name no prompt, token, address or
session. Neither makes anybody wait: an engine that does not answer soon is told of as failing.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from longlive.serving.metrics import CONTENT_TYPE, FAILURES_IN_A_ROW, Metrics
from longlive.serving.status import EngineStatus

logger = logging.getLogger(__name__)

PATIENCE_S = 2.0
_FRESH = {"Cache-Control": "no-store"}

Told = TypeVar("Told")


def routes_of(
    ask: Callable[[], EngineStatus], metrics: Metrics, *, patience_s: float = PATIENCE_S
) -> list[Route]:
    """The routes, for ``launch(app_kwargs={"routes": …})``; the time since now is told as ``uptime_s``.

    Args:
        ask: how the house stands.
        metrics: of the engine.
        patience_s: after so long without an answer the engine counts as stuck.
    """
    begun = time.monotonic()
    house, figures = _Question(ask, patience_s), _Question(metrics.text, patience_s)

    async def health(request: Request) -> Response:
        uptime = {"uptime_s": round(time.monotonic() - begun, 1)}
        try:
            answer = report(await house.answer(), metrics.keeps_failing)
        except TimeoutError:
            answer = {"status": "failing", "why": f"The engine has not answered for {patience_s:g} s."}
        except Exception:
            logger.exception("the engine cannot be asked how it is")
            answer = {"status": "failing", "why": "The engine cannot be asked."}
        code = 200 if answer["status"] == "ok" else 503
        return JSONResponse(answer | uptime, code, headers=_FRESH)

    async def scrape(request: Request) -> Response:
        try:
            return Response(await figures.answer(), media_type=CONTENT_TYPE, headers=_FRESH)
        except TimeoutError:
            return Response("the engine does not answer\n", 503, media_type="text/plain", headers=_FRESH)

    return [Route("/health", health), Route("/metrics", scrape)]


def report(house: EngineStatus, keeps_failing: bool) -> dict[str, Any]:
    """What /health says of a house: ``status`` ok, loading or failing, and ``why`` where it is not ok."""
    numbers = {
        "running": house.running,
        "waiting": house.waiting,
        "suspended": house.suspended,
        "capacity": house.capacity,
        "executor": house.executor,
        "model": house.model,
        # The names of the version before; to go with the next.
        "sessions": house.running,
        "parked": house.suspended,
        "room": house.capacity,
        "carrier": house.executor,
    }
    if not house.is_alive:
        return {"status": "failing", "why": "There is no worker that makes pictures."} | numbers
    if not house.is_ready:
        return {"status": "loading", "why": "The model is being loaded."} | numbers
    if keeps_failing:
        return {"status": "failing", "why": f"The last {FAILURES_IN_A_ROW} stories failed."} | numbers
    return {"status": "ok"} | numbers


class _Question(Generic[Told]):
    """Asks something in a thread of its own, once at a time: those who ask meanwhile get the same answer."""

    def __init__(self, ask: Callable[[], Told], patience_s: float) -> None:
        self._ask, self._patience_s = ask, patience_s
        self._asked: Future[Told] | None = None

    async def answer(self) -> Told:
        """What it gives, or TimeoutError."""
        if self._asked is None or self._asked.done():
            self._asked = Future()
            # A daemon, since one that never comes back would keep the whole program from its end.
            threading.Thread(
                target=self._work, args=(self._asked,), name="longlive-health", daemon=True
            ).start()
        asked = asyncio.shield(asyncio.wrap_future(self._asked))
        return await asyncio.wait_for(asked, self._patience_s)

    def _work(self, asked: Future[Told]) -> None:
        try:
            asked.set_result(self._ask())
        except Exception as error:
            asked.set_exception(error)
