"""Many viewers at once, and what each of them got: ``python -m longlive loadtest URL --viewers N``.

The viewers are programs (gradio_client with a player of its own) and, if wanted, pages in real browsers. Each
asks for a setting and colours of its own, so that the picture book's oracle sees whose story came. All
pictures are read when the load is over, so that reading them is no load.
"""

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
from gradio_client import Client

from longlive.benchmark.loadtest.api_viewer import ApiViewer, Log
from longlive.benchmark.loadtest.assignments import profile
from longlive.benchmark.loadtest.browser import CHROMIUM
from longlive.benchmark.loadtest.browser_viewer import BrowserViewer
from longlive.benchmark.loadtest.dropouts import AbandoningClient
from longlive.benchmark.loadtest.figures import ViewerResult, figures_of, figures_of_tab
from longlive.benchmark.loadtest.plan import Plan
from longlive.benchmark.loadtest.report import Result, as_json, table, total
from longlive.errors import EndpointError
from longlive.runtime.options import say

Viewer = ApiViewer | BrowserViewer

STEP_S = 0.01
ANSWERS = 16
HEALTH_S = 2.0


class EngineStatus:
    """What the app tells of itself while the load lasts."""

    def __init__(self, url: str, http: httpx.Client) -> None:
        """Ask the app at ``url``."""
        self._url, self._http = url, http
        self._answers: list[dict[str, Any]] = []

    def ask(self) -> None:
        """Ask once; an app that does not answer so has no more to tell."""
        with contextlib.suppress(httpx.HTTPError, ValueError):
            answer = self._http.get(f"{self._url}health").json()
            self._answers.append(answer if isinstance(answer, dict) else {})

    def facts(self) -> dict[str, Any]:
        """What was told, as Result has it."""
        rooms = [answer["room"] for answer in self._answers if "room" in answer]
        last = self._answers[-1] if self._answers else {}
        return {
            "model": last.get("model"),
            "carrier": last.get("carrier"),
            "health": tuple(dict.fromkeys(str(answer.get("status")) for answer in self._answers)),
            "least_room": min(rooms, default=None),
            "most_room": max(rooms, default=None),
        }


@dataclass
class _Effort:
    """What the load test itself took."""

    begun: float
    cpu: float
    load_average: float
    longest_step_s: float = 0.0

    @classmethod
    def begin(cls) -> "_Effort":
        return cls(time.monotonic(), time.process_time(), os.getloadavg()[0])

    @property
    def cpu_share(self) -> float:
        return (time.process_time() - self.cpu) / max(time.monotonic() - self.begun, 1e-9)


def load(
    url: str, plan: Plan, *, chromium: str = CHROMIUM, tell: Callable[[str], Any] = lambda _: None
) -> Result:
    """Put a load on the app at ``url`` and say what its viewers got; ``tell`` hears how far it is.

    Raises:
        EndpointError: if no such app answers there.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # gradio_client would tell its makers
    url = url.rstrip("/") + "/"
    with ThreadPoolExecutor(ANSWERS, "answers") as pool, httpx.Client(timeout=30) as http:
        tell(f"opening the page {plan.viewers + plan.waiting} times")
        viewers = _open(url, plan, pool, http, chromium)
        dropper, house = AbandoningClient(url, http), EngineStatus(url, http)
        errands = _Errands(
            lambda: pool.submit(house.ask), lambda: pool.submit(dropper.send, profile(0).prompt(0)), plan
        )
        try:
            tell("watching")
            effort = _Effort.begin()
            _play(viewers, plan, effort, errands)
            cpu_share, seconds = effort.cpu_share, time.monotonic() - effort.begun
        finally:
            list(pool.map(lambda viewer: viewer.close(), viewers))
    tell("reading the pictures")
    watched = tuple(_figures(viewers, number, plan) for number in range(len(viewers)))
    return total(
        url,
        plan,
        watched,
        **house.facts(),
        drops=dropper.sent,
        drops_refused=dropper.refused,
        seconds=round(seconds, 1),
        longest_step_s=round(effort.longest_step_s, 3),
        load_cpu_share=round(cpu_share, 3),
        load_average=round(effort.load_average, 2),
    )


def _open(url: str, plan: Plan, pool: ThreadPoolExecutor, http: httpx.Client, chromium: str) -> list[Viewer]:
    """All viewers with the page open, before the first presses Start; browsers come first."""
    tabs, programs = [], []
    try:
        for number in range(plan.viewers + plan.waiting):
            own = profile(number), plan.habits(number)
            if number < plan.browsers:
                tabs.append(BrowserViewer(url, *own, chromium=chromium, patience_s=plan.patience_s))
            else:
                client = Client(url, verbose=False, download_files=False)
                programs.append(ApiViewer(client, *own, pool, http))
    except (httpx.HTTPError, ValueError, StopIteration) as error:
        raise EndpointError(
            f"no LongLive app answers at {url}: {type(error).__name__}: {error}. Start one: python app.py"
        ) from error
    for tab in tabs:
        tab.wait_until_open()
    return [*tabs, *programs]


def _play(viewers: Sequence[Viewer], plan: Plan, effort: _Effort, errands: "_Errands") -> None:
    """Look after all viewers until each has left."""
    first, later = list(viewers[: plan.viewers]), list(viewers[plan.viewers :])
    last = now = next_start = effort.begun
    while not all(one.is_over for one in viewers) and now - effort.begun < plan.patience_s:
        if now >= next_start:
            next_start = now + plan.apart_s
            if first:
                first.pop(0).start(now)
            elif later and all(_is_placed(one.log) for one in viewers[: plan.viewers]):
                later.pop(0).start(now)
        errands.run(now - effort.begun)
        for one in viewers:
            one.step(now)
        time.sleep(STEP_S)
        last, now = now, time.monotonic()
        effort.longest_step_s = max(effort.longest_step_s, now - last)
    for one in viewers:
        if not one.is_over:
            one.give_up(now)


def _is_placed(log: Log) -> bool:
    """Whether a viewer has pictures, a place in line, or nothing more to hope for."""
    return bool(log.first_at or log.told or log.ended_at)


class _Errands:
    """What is done beside the viewers, each at its time; none of it may take long."""

    def __init__(self, ask: Callable[[], Any], drop: Callable[[], Any], plan: Plan) -> None:
        self._ask, self._drop = ask, drop
        self._drops = [plan.seconds * (number + 0.5) / plan.drops for number in range(plan.drops)]
        self._next_ask = 0.0

    def run(self, passed: float) -> None:
        """What is due ``passed`` seconds after the beginning."""
        if passed >= self._next_ask:
            self._next_ask = passed + HEALTH_S
            self._ask()
        if self._drops and passed >= self._drops[0]:
            self._drops.pop(0)
            self._drop()


def _figures(viewers: Sequence[Viewer], number: int, plan: Plan) -> ViewerResult:
    one = viewers[number]
    others = [(other.profile, other.log) for other in viewers if other is not one]
    if isinstance(one, BrowserViewer):
        return figures_of_tab(f"browser {number + 1}", one, others)
    name = f"viewer {number + 1}" if number < plan.viewers else f"later {number + 1 - plan.viewers}"
    return figures_of(name, one.profile, one.log, one.player, others)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``loadtest``."""
    usual = Plan(1)
    parser.add_argument("url", help="of the running app, such as http://127.0.0.1:7860/")
    parser.add_argument("--viewers", type=int, default=2, help="at once (default: 2)")
    parser.add_argument(
        "--seconds", type=float, default=usual.seconds, help="that each watches (default: 60)"
    )
    parser.add_argument(
        "--browsers", type=int, default=0, help="how many of them are pages in Chromium (default: 0)"
    )
    parser.add_argument("--chromium", default=CHROMIUM, help=f"the browser (default: {CHROMIUM})")
    parser.add_argument(
        "--waiting", type=int, default=0, help="more viewers, who come when the others have their pictures"
    )
    parser.add_argument(
        "--waiting-seconds",
        type=float,
        default=usual.waiting_s,
        help="that each of those watches (default: 10)",
    )
    parser.add_argument(
        "--drops",
        type=int,
        default=0,
        help="visitors beside them who start a story and are gone (default: 0)",
    )
    parser.add_argument(
        "--switch-every", type=float, default=usual.switch_every, help="seconds between prompts (default: 10)"
    )
    parser.add_argument(
        "--patience", type=float, default=usual.patience_s, help="seconds until it is over (default: 900)"
    )
    parser.add_argument(
        "--read-every", type=int, default=1, help="read one of so many segments; 0 for none (default: 1)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.set_defaults(run=run_loadtest)


def run_loadtest(args: argparse.Namespace) -> int:
    """Do what the options say."""
    plan = Plan(
        viewers=args.viewers,
        browsers=args.browsers,
        seconds=args.seconds,
        waiting=args.waiting,
        waiting_s=args.waiting_seconds,
        switch_every=args.switch_every,
        drops=args.drops,
        patience_s=args.patience,
        read_every=args.read_every,
    )
    result = load(args.url, plan, chromium=args.chromium, tell=say)
    sys.stdout.write((json.dumps(as_json(result), ensure_ascii=False) if args.json else table(result)) + "\n")
    return 0
