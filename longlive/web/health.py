"""``/health`` for whoever restarts the app, and ``/metrics`` for Prometheus.

page.launch(**page_options(routes_of(engine.status, engine.metrics)))

They are routes of the app that ``launch`` serves, before Gradio's own. They name no prompt, token, address or
session. Neither waits for long: an engine that does not answer in time is reported as failing.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any, Generic, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from longlive.audience.publisher import Publisher
from longlive.config import size_text
from longlive.runtime.deprecated_options import RENAMED_HEALTH_FIELDS
from longlive.serving.metrics import CONTENT_TYPE, FAILURES_IN_A_ROW, Metrics
from longlive.serving.status import EngineStatus

logger = logging.getLogger(__name__)

ANSWER_TIMEOUT_S = 2.0
_NO_STORE = {"Cache-Control": "no-store"}

Value = TypeVar("Value")


def routes_of(
    get_status: Callable[[], EngineStatus],
    metrics: Metrics,
    *,
    publisher: Publisher | None = None,
    timeout_s: float = ANSWER_TIMEOUT_S,
) -> list[Route]:
    """The two routes, for ``page_options``; ``uptime_s`` counts from this call.

    Args:
        get_status: reads the state of the engine.
        metrics: of the engine.
        publisher: sends the room's video on, if anything does; how that goes is part of /health, but a
            streaming service that is gone makes nothing of the app fail.
        timeout_s: seconds after which an engine that does not answer is reported as failing.
    """
    begun = time.monotonic()
    status, figures = _SharedCall(get_status, timeout_s), _SharedCall(metrics.text, timeout_s)

    async def health(request: Request) -> Response:
        uptime = {"uptime_s": round(time.monotonic() - begun, 1)}
        try:
            answer = health_of(await status.result(), metrics.keeps_failing)
        except TimeoutError:
            answer = {"status": "failing", "why": f"The engine has not answered for {timeout_s:g} s."}
        except Exception:
            logger.exception("the engine's status could not be read")
            answer = {"status": "failing", "why": "The engine's status could not be read."}
        if publisher is not None:
            answer |= {"publishing": asdict(publisher.status())}
        code = 200 if answer["status"] == "ok" else 503
        return JSONResponse(answer | uptime, code, headers=_NO_STORE)

    async def scrape(request: Request) -> Response:
        try:
            return Response(await figures.result(), media_type=CONTENT_TYPE, headers=_NO_STORE)
        except TimeoutError:
            return Response("the engine does not answer\n", 503, media_type="text/plain", headers=_NO_STORE)

    return [Route("/health", health), Route("/metrics", scrape)]


def health_of(status: EngineStatus, keeps_failing: bool) -> dict[str, Any]:
    """The answer of /health: ``status`` (ok, loading, failing), ``why`` if not ok, the engine's numbers."""
    numbers = {
        "running": status.running,
        "waiting": status.waiting,
        "suspended": status.suspended,
        "capacity": status.capacity,
        "executor": status.executor,
        "model": status.model,
        "models": list(status.models) or [status.model],
        "sizes": {name: list(map(size_text, sizes)) for name, sizes in status.sizes.items()},
    }
    numbers |= {old: numbers[new] for old, new in RENAMED_HEALTH_FIELDS.items()}
    if not status.is_alive:
        return {"status": "failing", "why": "No worker can make videos."} | numbers
    if not status.is_ready:
        return {"status": "loading", "why": "The model is being loaded."} | numbers
    if keeps_failing:
        return {"status": "failing", "why": f"The last {FAILURES_IN_A_ROW} videos failed."} | numbers
    return {"status": "ok"} | numbers


class _SharedCall(Generic[Value]):
    """Calls a function in a thread, one call at a time; requests that come meanwhile share its result."""

    def __init__(self, function: Callable[[], Value], timeout_s: float) -> None:
        self._function, self._timeout_s = function, timeout_s
        self._pending: Future[Value] | None = None

    async def result(self) -> Value:
        """The function's result, or TimeoutError."""
        if self._pending is None or self._pending.done():
            self._pending = Future()
            # A daemon thread: one that never returns must not keep the program from ending.
            threading.Thread(
                target=self._call, args=(self._pending,), name="longlive-health", daemon=True
            ).start()
        pending = asyncio.shield(asyncio.wrap_future(self._pending))
        return await asyncio.wait_for(pending, self._timeout_s)

    def _call(self, pending: Future[Value]) -> None:
        try:
            pending.set_result(self._function())
        except Exception as error:
            pending.set_exception(error)
