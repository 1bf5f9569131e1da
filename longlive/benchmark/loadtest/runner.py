"""The load test: ``python -m longlive loadtest URL --viewers N``.

Viewers use the API (gradio_client with a virtual player) and, if wanted, pages in real browsers. Each asks
for a setting and colours of its own, so that the storybook's oracle can tell whose video came. Pictures are
decoded when all viewers have left, so that this adds nothing to the load.
"""

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
from gradio_client import Client

from longlive.benchmark.loadtest.api_viewer import ApiViewer
from longlive.benchmark.loadtest.assignments import profile
from longlive.benchmark.loadtest.browser import CHROMIUM
from longlive.benchmark.loadtest.browser_viewer import BrowserViewer
from longlive.benchmark.loadtest.dropouts import AbandoningClient
from longlive.benchmark.loadtest.figures import ViewerResult, result_of, result_of_browser
from longlive.benchmark.loadtest.plan import Plan
from longlive.benchmark.loadtest.report import LoadTestResult, combine
from longlive.benchmark.loadtest.viewer_log import ViewerLog
from longlive.benchmark.loadtest.watching.crowd import Crowd, CrowdPlan
from longlive.errors import EndpointError
from longlive.network import direct_connections

Viewer = ApiViewer | BrowserViewer

STEP_S = 0.01
POOL_SIZE = 16
HEALTH_EVERY_S = 2.0


class HealthMonitor:
    """Collects the answers of ``/health`` during the test."""

    def __init__(self, url: str, http: httpx.Client) -> None:
        """Ask the app at ``url``."""
        self._url, self._http = url, http
        self._answers: list[dict[str, Any]] = []

    def poll(self) -> None:
        """Ask once; an app without such an answer is left out."""
        with contextlib.suppress(httpx.HTTPError, ValueError):
            answer = self._http.get(f"{self._url}health").json()
            self._answers.append(answer if isinstance(answer, dict) else {})

    def facts(self) -> dict[str, Any]:
        """Fields of ``LoadTestResult``."""
        capacities = [answer["capacity"] for answer in self._answers if "capacity" in answer]
        last = self._answers[-1] if self._answers else {}
        return {
            "model": last.get("model"),
            "executor": last.get("executor"),
            "health": tuple(dict.fromkeys(str(answer.get("status")) for answer in self._answers)),
            "min_capacity": min(capacities, default=None),
            "max_capacity": max(capacities, default=None),
        }


@dataclass
class _Overhead:
    """What the load test itself took; times in seconds."""

    begun: float
    cpu: float
    load_average: float
    longest_step_s: float = 0.0

    @classmethod
    def begin(cls) -> "_Overhead":
        return cls(time.monotonic(), time.process_time(), os.getloadavg()[0])

    @property
    def cpu_share(self) -> float:
        return (time.process_time() - self.cpu) / max(time.monotonic() - self.begun, 1e-9)


class _SideTasks:
    """Starts tasks beside the viewers when they are due; starting one must be quick."""

    def __init__(self, poll_health: Callable[[], Any], abandon: Callable[[], Any], plan: Plan) -> None:
        self._poll_health, self._abandon = poll_health, abandon
        self._abandon_at = [plan.seconds * (number + 0.5) / plan.drops for number in range(plan.drops)]
        self._poll_at = 0.0

    def run_due(self, passed: float) -> None:
        """Start what is due ``passed`` seconds after the beginning."""
        if passed >= self._poll_at:
            self._poll_at = passed + HEALTH_EVERY_S
            self._poll_health()
        if self._abandon_at and passed >= self._abandon_at[0]:
            self._abandon_at.pop(0)
            self._abandon()


def run_load_test(
    url: str, plan: Plan, *, chromium: str = CHROMIUM, progress: Callable[[str], Any] = lambda _: None
) -> LoadTestResult:
    """Run a load test of the app at ``url``.

    Args:
        url: of the running app.
        plan: the load.
        chromium: path of the browser, if the plan has browsers.
        progress: called with a line of text at each stage.

    Raises:
        EndpointError: if no such app answers there.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # or gradio_client would report its use
    url = url.rstrip("/") + "/"
    with (
        direct_connections(),
        ThreadPoolExecutor(POOL_SIZE, "loadtest") as pool,
        httpx.Client(timeout=30) as http,
    ):
        progress(f"opening the page {plan.viewers + plan.waiting} times")
        viewers = _open_viewers(url, plan, pool, http, chromium)
        dropper, health = AbandoningClient(url, http), HealthMonitor(url, http)
        crowd = _crowd(url, viewers, plan, chromium)
        crowd.wait_until_open()
        tasks = _SideTasks(
            lambda: pool.submit(health.poll), lambda: pool.submit(dropper.visit, profile(0).prompt(0)), plan
        )
        try:
            progress("watching")
            overhead = _Overhead.begin()
            _run_viewers(viewers, plan, overhead, tasks, crowd)
            cpu_share, seconds = overhead.cpu_share, time.monotonic() - overhead.begun
        finally:
            crowd.finish(time.monotonic())
            list(pool.map(lambda viewer: viewer.close(), viewers))
    progress("decoding the pictures")
    return combine(
        url,
        plan,
        [_result_of(viewers, number, plan) for number in range(len(viewers))],
        **health.facts(),
        drops=dropper.sent,
        refused_drops=dropper.refused,
        watchers=crowd.result(),
        seconds=round(seconds, 1),
        longest_step_s=round(overhead.longest_step_s, 3),
        load_cpu_share=round(cpu_share, 3),
        load_average=round(overhead.load_average, 2),
    )


def _open_viewers(
    url: str, plan: Plan, pool: ThreadPoolExecutor, http: httpx.Client, chromium: str
) -> list[Viewer]:
    """All viewers with the page open, before the first presses Start; browsers come first."""
    browsers, programs = [], []
    try:
        for number in range(plan.viewers + plan.waiting):
            own = profile(number), plan.behaviour(number)
            if number < plan.browsers:
                browsers.append(BrowserViewer(url, *own, chromium=chromium, timeout_s=plan.timeout_s))
            else:
                client = Client(url, verbose=False, download_files=False)
                programs.append(ApiViewer(client, *own, pool, http))
    except (httpx.HTTPError, ValueError, StopIteration) as error:
        raise EndpointError(
            f"no LongLive app answers at {url}: {type(error).__name__}: {error}. Start one: python app.py"
        ) from error
    for browser in browsers:
        browser.wait_until_open()
    return [*browsers, *programs]


def _crowd(url: str, viewers: Sequence[Viewer], plan: Plan, chromium: str) -> Crowd:
    watched = [one for one in viewers[: plan.viewers] if isinstance(one, ApiViewer)]
    return Crowd(url, watched, CrowdPlan(plan.watchers, plan.watcher_browsers, plan.settle_s, chromium))


def _run_viewers(
    viewers: Sequence[Viewer], plan: Plan, overhead: _Overhead, tasks: _SideTasks, crowd: Crowd
) -> None:
    """Start the viewers by the plan, and step them and the watchers until each has left."""
    first, later = list(viewers[: plan.viewers]), list(viewers[plan.viewers :])
    last = now = next_start = overhead.begun
    while not all(one.is_over for one in viewers) and now - overhead.begun < plan.timeout_s:
        if now >= next_start:
            next_start = now + plan.apart_s
            if first:
                first.pop(0).start(now)
            elif later and all(_is_placed(one.log) for one in viewers[: plan.viewers]):
                later.pop(0).start(now)
        tasks.run_due(now - overhead.begun)
        for one in viewers:
            one.step(now)
        crowd.step(now)
        time.sleep(STEP_S)
        last, now = now, time.monotonic()
        overhead.longest_step_s = max(overhead.longest_step_s, now - last)
    for one in viewers:
        if not one.is_over:
            one.give_up(now)


def _is_placed(log: ViewerLog) -> bool:
    """Whether a viewer has a picture or a queue position, or is over."""
    return bool(log.first_at or log.queue_updates or log.ended_at)


def _result_of(viewers: Sequence[Viewer], number: int, plan: Plan) -> ViewerResult:
    one = viewers[number]
    others = [(other.profile, other.log) for other in viewers if other is not one]
    if isinstance(one, BrowserViewer):
        return result_of_browser(f"browser {number + 1}", one, others)
    name = f"viewer {number + 1}" if number < plan.viewers else f"later {number + 1 - plan.viewers}"
    return result_of(name, one.profile, one.log, one.player, others)
