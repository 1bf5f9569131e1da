"""A watcher that is a page in a real browser: what counts is what was on its screen."""

import itertools
import threading
import time

from longlive.benchmark.loadtest.browser import FLAGS, RECORD
from longlive.benchmark.loadtest.watching.watcher import OwnerSecond
from longlive.benchmark.loadtest.watching.watchers_result import WatcherResult, stall_figures

OPENING_S = 60.0

Pictures = list[tuple[float, float]]
"""When each was shown, as ``now``, and its second of the video."""
_POLL_MS = 200
# The clock of the page and that of this process are compared once.
_SHOWN = "window.shown.map(([at, second]) => [at + performance.timeOrigin / 1000, second])"


class BrowserWatcher:
    """One watcher in a Chromium and a thread of its own."""

    def __init__(self, name: str, url: str, owner_second: OwnerSecond, now: float, *, chromium: str) -> None:
        """Begin to open the page; arguments as for ``Watcher``, and the path of the browser."""
        self._name, self._url, self._owner_second, self._asked_at = name, url, owner_second, now
        self._chromium, self._is_leaving, self._end = chromium, threading.Event(), ""
        self._shown: Pictures = []
        self._thread = threading.Thread(target=self._run, name="longlive-watcher", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave."""
        self._is_leaving.set()
        self._thread.join(OPENING_S)

    def result(self) -> WatcherResult:
        """What it got."""
        return result_of_pictures(self._name, self._asked_at, self._shown, self._owner_second, self._end)

    def _run(self) -> None:
        try:
            self._watch()
        except Exception as error:  # a browser that breaks is this watcher's result, not the end of the test
            self._end = f"{type(error).__name__}: {error}".splitlines()[0]

    def _watch(self) -> None:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=self._chromium, args=list(FLAGS), headless=True
            )
            page = browser.new_page(viewport={"width": 800, "height": 700})
            page.goto(self._url)
            page.wait_for_selector("#player video", state="attached")
            page.evaluate(RECORD)
            while not self._is_leaving.is_set():
                page.wait_for_timeout(_POLL_MS)
            offset = time.monotonic() - time.time()
            self._shown = [(at + offset, second) for at, second in page.evaluate(_SHOWN)]
            browser.close()


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
