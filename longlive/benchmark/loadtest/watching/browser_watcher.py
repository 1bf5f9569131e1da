"""A watcher that is a page in a real browser: what counts is what was on its screen."""

import itertools
import threading
import time
from typing import TYPE_CHECKING

from longlive.benchmark.loadtest.browser import FLAGS, RECORD
from longlive.benchmark.loadtest.watching.watcher import OwnerSecond
from longlive.benchmark.loadtest.watching.watchers_result import WatcherResult, stall_figures

if TYPE_CHECKING:
    from playwright.sync_api import Page

OPENING_S = 60.0

Pictures = list[tuple[float, float]]
"""When each was shown, as ``now``, and its second of the video."""
_POLL_MS = 200
# The clock of the page and that of this process are compared once.
_SHOWN = "window.shown.map(([at, second]) => [at + performance.timeOrigin / 1000, second])"


class BrowserWatcher:
    """One watcher in a Chromium and a thread of its own."""

    def __init__(self, name: str, *, chromium: str) -> None:
        """Begin to start the browser at that path; ``wait_until_open`` returns when it can ``watch``."""
        self._name, self._chromium = name, chromium
        self._is_open, self._may_go_on, self._is_leaving = (threading.Event() for _ in range(3))
        self._url, self._asked_at = "", 0.0
        self._owner_second: OwnerSecond = float
        self._shown: Pictures = []
        self._end = ""
        self._thread = threading.Thread(target=self._run, name="longlive-watcher", daemon=True)
        self._thread.start()

    def wait_until_open(self) -> None:
        """Return when the browser has started, or cannot be started."""
        self._is_open.wait(OPENING_S)

    def watch(self, url: str, owner_second: OwnerSecond, now: float) -> None:
        """Begin to open the page; arguments as for ``Watcher``."""
        self._url, self._owner_second, self._asked_at = url, owner_second, now
        self._may_go_on.set()

    def leave(self) -> None:
        """Begin to close the browser."""
        self._is_leaving.set()
        self._may_go_on.set()

    def result(self) -> WatcherResult:
        """What it got; waits until the browser is closed."""
        self.leave()
        self._thread.join(OPENING_S)
        return result_of_pictures(self._name, self._asked_at, self._shown, self._owner_second, self._end)

    def _run(self) -> None:
        try:
            self._start_and_watch()
        except Exception as error:  # a browser that breaks is this watcher's result, not the end of the test
            self._end = f"{type(error).__name__}: {error}".splitlines()[0]
        self._is_open.set()

    def _start_and_watch(self) -> None:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=self._chromium, args=list(FLAGS), headless=True
            )
            page = browser.new_page(viewport={"width": 800, "height": 700})
            self._is_open.set()
            self._may_go_on.wait()
            if not self._is_leaving.is_set():
                self._watch(page)
            browser.close()

    def _watch(self, page: "Page") -> None:
        page.goto(self._url)
        page.wait_for_selector("#player video", state="attached")
        page.evaluate(RECORD)
        while not self._is_leaving.is_set():
            page.wait_for_timeout(_POLL_MS)
        offset = time.monotonic() - time.time()
        self._shown = [(at + offset, second) for at, second in page.evaluate(_SHOWN)]


def result_of_pictures(
    name: str, asked_at: float, shown: Pictures, owner_second: OwnerSecond, end: str
) -> WatcherResult:
    """The result by the pictures on a screen; the first one may stand there until playback begins."""
    playing = shown[1:]
    if not playing:
        return WatcherResult(name, end=end or "No picture came.")
    stalls, longest = stall_figures([later - at for (at, _), (later, _) in itertools.pairwise(playing)])
    return WatcherResult(
        watcher=name,
        first_picture_s=round(shown[0][0] - asked_at, 3),
        seconds=round(playing[-1][0] - shown[0][0], 1),
        stalls=stalls,
        longest_stall_s=longest,
        delays_s=tuple(round(owner_second(at) - second, 3) for at, second in playing),
        end=end,
    )
