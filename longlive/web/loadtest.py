"""Many viewers at once, and what each of them got: ``python -m longlive loadtest URL --viewers N``.

The viewers are programs (gradio_client with a player of its own) and, if wanted, pages in real browsers. Each
asks for a setting and colours of its own, so that the picture book's oracle sees whose story came. All
pictures are read when the load is over, so that reading them is no load.
"""

import argparse
import contextlib
import datetime
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import httpx
import torch
from gradio_client import Client

from longlive.errors import ConfigError, EndpointError
from longlive.options import say
from longlive.provenance import device_name, git_revision, processor_name, versions
from longlive.web.drops import Dropper
from longlive.web.load_figures import Watched, figures_of, figures_of_tab, percentile
from longlive.web.measure import CHROMIUM
from longlive.web.programs import Habits, Log, Program
from longlive.web.roles import MOST_ROLES, role
from longlive.web.tabs import Tab
from longlive.web.virtual_player import STALL_S

Viewer = Program | Tab

STEP_S = 0.01
ANSWERS = 16
HEALTH_S = 2.0


@dataclass(frozen=True)
class Plan:
    """A load.

    Attributes:
        viewers: who come first, one each ``apart_s`` seconds.
        browsers: how many of those are pages in a browser.
        seconds: that each of them watches, from its first picture on.
        waiting: more viewers, who come when each of the first has its pictures or its place in line.
        waiting_s: seconds that each of those watches.
        switch_every: seconds between the prompts of a viewer.
        drops: visitors beside them, who start a story and are gone, evenly over the time.
        patience_s: after so long the load is over, wherever it stands.
        read_every: of so many segments of a viewer, one is read; 0 for none.
    """

    viewers: int
    seconds: float = 60.0
    browsers: int = 0
    waiting: int = 0
    waiting_s: float = 10.0
    switch_every: float = 10.0
    drops: int = 0
    apart_s: float = 0.5
    patience_s: float = 900.0
    read_every: int = 1

    def __post_init__(self) -> None:
        if self.viewers < 1 or self.waiting < 0 or self.viewers + self.waiting > MOST_ROLES:
            rule = (
                f"there must be one, and with those who wait at most {MOST_ROLES}: so many colours there are"
            )
            raise ConfigError("viewers", self.viewers, rule, "Try --viewers 4.")
        if not 0 <= self.browsers <= self.viewers:
            rule = "there cannot be more than viewers in all, nor fewer than none"
            raise ConfigError("browsers", self.browsers, rule, "Try --browsers 1.")
        if self.drops and self.waiting:
            rule = "nobody knows who is before whom in line while visitors come and go"
            raise ConfigError("drops", self.drops, rule, "Leave out --drops or --waiting.")
        for name in ("seconds", "waiting_s", "switch_every", "patience_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(name, getattr(self, name), "it must be above 0", "Leave it out.")

    def habits(self, number: int) -> Habits:
        """What viewer ``number`` does; prompts do not come all at once."""
        first_switch = self.switch_every * (number % self.viewers + 1) / self.viewers
        seconds = self.seconds if number < self.viewers else self.waiting_s
        return Habits(seconds, first_switch, self.switch_every, self.read_every)


@dataclass(frozen=True)
class Result:
    """What a load gave to all viewers together, and to each.

    Attributes:
        plan: the load.
        stalls, longest_stall_s, least_delay_s: as for one viewer.
        first_picture_p50_s, first_picture_p95_s: of those who did not wait in line.
        prompt_to_screen_p50_s, prompt_to_screen_p95_s: of all prompts that were seen; ``prompts`` were sent.
        prompt_to_picture_p50_s, prompt_to_picture_p95_s: the same, as the colours of the pictures tell it.
        pictures, pictures_lost, pictures_read, wrong_story_pictures, unlike_pictures: of all viewers.
        waited, got_in: viewers who were told a position in line; of all who came, who got pictures.
        false_positions, broken_waits: told to those who waited.
        failed: stories that ended otherwise than asked.
        model, carrier, health: as the app tells of itself; each status that it had.
        least_room, most_room: viewers that it said it could feed.
        drops, drops_refused: visitors who started a story and were gone; those who were not let in.
        seconds: that it took.
        longest_step_s: the longest time in which nobody looked after the viewers: the load test's own delay.
        load_cpu_share: processors that the load test itself kept busy, browsers left out.
        load_average: of this machine before, over a minute: what others make it do.
        watched: by viewer.
    """

    url: str
    plan: Plan
    stalls: int
    longest_stall_s: float
    least_delay_s: float | None
    first_picture_p50_s: float | None
    first_picture_p95_s: float | None
    prompts: int
    prompts_unseen: int
    prompt_to_screen_p50_s: float | None
    prompt_to_screen_p95_s: float | None
    prompt_to_picture_p50_s: float | None
    prompt_to_picture_p95_s: float | None
    pictures: int
    pictures_lost: int
    pictures_read: int
    wrong_story_pictures: int
    unlike_pictures: int
    waited: int
    got_in: int
    false_positions: int
    broken_waits: int
    failed: int
    model: str | None
    carrier: str | None
    health: tuple[str, ...]
    least_room: int | None
    most_room: int | None
    drops: int
    drops_refused: int
    seconds: float
    longest_step_s: float
    load_cpu_share: float
    load_average: float
    watched: tuple[Watched, ...]


class House:
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
        dropper, house = Dropper(url, http), House(url, http)
        errands = _Errands(
            lambda: pool.submit(house.ask), lambda: pool.submit(dropper.send, role(0).prompt(0)), plan
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
            own = role(number), plan.habits(number)
            if number < plan.browsers:
                tabs.append(Tab(url, *own, chromium=chromium, patience_s=plan.patience_s))
            else:
                client = Client(url, verbose=False, download_files=False)
                programs.append(Program(client, *own, pool, http))
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


def _figures(viewers: Sequence[Viewer], number: int, plan: Plan) -> Watched:
    one = viewers[number]
    others = [(other.role, other.log) for other in viewers if other is not one]
    if isinstance(one, Tab):
        return figures_of_tab(f"browser {number + 1}", one, others)
    name = f"viewer {number + 1}" if number < plan.viewers else f"later {number + 1 - plan.viewers}"
    return figures_of(name, one.role, one.log, one.player, others)


def total(url: str, plan: Plan, watched: Sequence[Watched], **facts: Any) -> Result:
    """The figures of all viewers as one, with the ``facts`` of Result that no viewer knows."""
    firsts = [one.first_picture_s for one in watched if one.first_picture_s is not None and not one.told]
    screens = [delay for one in watched for delay in one.prompt_to_screen_s]
    pictures = [delay for one in watched for delay in one.prompt_to_picture_s]
    return Result(
        url=url,
        plan=plan,
        stalls=sum(one.stalls for one in watched),
        longest_stall_s=max(one.longest_stall_s for one in watched),
        least_delay_s=min(
            (one.least_delay_s for one in watched if one.least_delay_s is not None), default=None
        ),
        first_picture_p50_s=percentile(firsts, 50),
        first_picture_p95_s=percentile(firsts, 95),
        prompts=sum(one.prompts for one in watched),
        prompts_unseen=sum(one.prompts_unseen for one in watched),
        prompt_to_screen_p50_s=percentile(screens, 50),
        prompt_to_screen_p95_s=percentile(screens, 95),
        prompt_to_picture_p50_s=percentile(pictures, 50),
        prompt_to_picture_p95_s=percentile(pictures, 95),
        pictures=sum(one.pictures for one in watched),
        pictures_lost=sum(one.pictures_lost for one in watched),
        pictures_read=sum(one.pictures_read for one in watched),
        wrong_story_pictures=sum(one.wrong_story_pictures for one in watched),
        unlike_pictures=sum(one.unlike_pictures for one in watched),
        waited=sum(bool(one.told) for one in watched),
        got_in=sum(one.first_picture_s is not None for one in watched),
        false_positions=sum(one.false_positions for one in watched),
        broken_waits=sum(one.broken_waits for one in watched),
        failed=sum(one.has_failed for one in watched),
        watched=tuple(watched),
        **facts,
    )


def as_json(result: Result) -> dict[str, Any]:
    """The result, and where it comes from."""
    return asdict(result) | {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": device_name(torch.device("cpu")),
        "processor": processor_name(),
        "versions": versions() | {name: metadata.version(name) for name in ("gradio", "gradio_client")},
        "git_revision": git_revision(),
    }


_COLUMNS = {
    "viewer": "viewer",
    "first_picture_s": "first s",
    "seconds": "seconds",
    "stalls": "stalls",
    "longest_stall_s": "longest",
    "delay_p50_s": "delay",
    "least_delay_s": "least",
    "prompts": "prompts",
    "pictures": "pictures",
    "pictures_lost": "lost",
    "pictures_read": "read",
    "wrong_story_pictures": "wrong",
    "unlike_pictures": "unlike",
}


def table(result: Result) -> str:
    """The result as lines for people: all viewers as one, each by itself, and what was told in line."""
    apart = ("plan", "watched", "url")
    facts = {name: value for name, value in vars(result).items() if name not in apart}
    lines = [f"{name:<24} {'-' if value is None else value}" for name, value in facts.items()]
    lines += ["", "".join(f"{head:>10}" for head in _COLUMNS.values()) + "  asked for"]
    for one in result.watched:
        cells = [getattr(one, name) for name in _COLUMNS]
        row = "".join(f"{'-' if cell is None else cell:>10}" for cell in cells)
        lines.append(f"{row}  {one.asked}")
    for one in result.watched:
        lines += _remarks(one)
    if result.longest_step_s > STALL_S:
        held_up = f"{result.longest_step_s:.1f} s: this machine is busy, and stalls may be of its own making"
        lines.append(f"The load test itself was held up for {held_up}.")
    return "\n".join(lines)


def _remarks(one: Watched) -> list[str]:
    """What a viewer was told, and how it ended if nobody asked for that."""
    lines = [f"{one.viewer} refused: {words}" for words in one.refusals]
    if one.told:
        (_, first, wait_s), *_ = one.told
        promised = "" if wait_s is None else f", at most {wait_s:.0f} s"
        real = (
            "no picture came"
            if one.first_picture_s is None
            else f"the first picture after {one.first_picture_s:.1f} s"
        )
        places = ", ".join(f"{position} at {at:.0f} s" for at, position, _ in one.told)
        lines.append(f"{one.viewer} in line: {first}{promised}; {real} ({places})")
    elif one.notices:
        lines.append(f"{one.viewer} was told: {' / '.join(dict.fromkeys(one.notices))}")
    if one.has_failed:
        lines.append(f"{one.viewer} ended: {one.end}")
    return lines


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
