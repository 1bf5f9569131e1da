"""All watchers of a load test: who comes when, and what they got.

They come when every viewer has had pictures for a while, so that it is known what the app takes without them,
and leave when the first viewer does. One thread serves them all: the one that steps the viewers.
"""

import selectors
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from longlive.benchmark.loadtest.api_viewer import ApiViewer
from longlive.benchmark.loadtest.watching.app_usage import AppUsage, UsageSample
from longlive.benchmark.loadtest.watching.browser_watcher import BrowserWatcher
from longlive.benchmark.loadtest.watching.watcher import Watcher
from longlive.benchmark.loadtest.watching.watchers_result import WatchersResult, combine_watchers

CONNECT_PER_STEP = 4
SAMPLE_EVERY_S = 0.5
JOINED_S = 5.0
"""So long after the last one has come, the app's memory is that with all of them."""


@dataclass(frozen=True)
class CrowdPlan:
    """Who watches.

    Attributes:
        watchers: how many.
        browsers: how many of those are pages in a browser.
        settle_s: seconds from the last viewer's first picture to the first watcher.
        chromium: path of the browser.
    """

    watchers: int
    browsers: int
    settle_s: float
    chromium: str


class Crowd:
    """The watchers of some viewers' videos; to be stepped ten times a second or more."""

    def __init__(self, url: str, viewers: Sequence[ApiViewer], plan: CrowdPlan) -> None:
        """Nobody watches yet; each viewer's video is watched by as many as any other's.

        The browsers begin to start: ``wait_until_open``.
        """
        self._url, self._viewers, self._plan = url, viewers, plan
        self._watchers: list[Watcher] = []
        self._browsers = [
            BrowserWatcher(f"browser {number + 1}", chromium=plan.chromium) for number in range(plan.browsers)
        ]
        self._came = 0
        self._links: list[Future[str]] = []
        self._selector = selectors.DefaultSelector()
        self._usage, self._samples = AppUsage(url), dict[str, UsageSample | None]()
        self._settled_at = self._came_at = self._sample_at = 0.0
        self._is_over = not plan.watchers

    def wait_until_open(self) -> None:
        """Return when the browsers have started: that must not disturb the viewers."""
        for browser in self._browsers:
            browser.wait_until_open()

    def step(self, now: float) -> None:
        """Let those come who are due, and handle what came."""
        if self._is_over or not all(one.log.first_at for one in self._viewers):
            return
        if any(one.log.left_at or one.log.ended_at for one in self._viewers):
            self.finish(now)
            return
        self._settled_at = self._settled_at or now
        self._keep_sample("settled", now)
        if now - self._settled_at >= self._plan.settle_s:
            self._keep_sample("before", now)
            self._links = self._links or [one.open_audience() for one in self._viewers]
            if all(link.done() for link in self._links):
                self._come(now)
                self._serve(now)

    def finish(self, now: float) -> None:
        """All leave."""
        if self._is_over:
            return
        self._is_over = True
        self._keep_sample("end", now)
        for one in self._watchers:
            one.close(now)
        self._selector.close()
        for browser in self._browsers:
            browser.leave()

    def result(self) -> WatchersResult | None:
        """What they got; None if nobody was to watch."""
        if not self._plan.watchers:
            return None
        each = [one.result() for one in self._browsers] + [one.result() for one in self._watchers]
        return combine_watchers(self._plan.watchers, each, self._samples, browsers=len(self._browsers))

    def _keep_sample(self, name: str, now: float) -> None:
        if name not in self._samples:
            self._samples[name] = self._usage.sample(now)

    def _come(self, now: float) -> None:
        """Some more come, if they have not all."""
        for number in range(self._came, min(self._came + CONNECT_PER_STEP, self._plan.watchers)):
            owner = number % len(self._viewers)
            where = f"{self._url}{self._links[owner].result()}"
            second = self._viewers[owner].player.second_at
            if number < self._plan.browsers:
                self._browsers[number].watch(where, second, now)
            else:
                name = f"watcher {number + 1}"
                self._watchers.append(Watcher(name, f"{where}/live", second, now, self._selector))
            self._came, self._came_at = number + 1, now
        if self._came == self._plan.watchers and now - self._came_at >= JOINED_S:
            self._keep_sample("joined", now)

    def _serve(self, now: float) -> None:
        for key, _ in self._selector.select(0):
            key.data.read(now)
        for one in self._watchers:
            one.step(now)
        if now >= self._sample_at:
            self._sample_at = now + SAMPLE_EVERY_S
            for one in self._watchers:
                one.sample(now)
