"""A viewer that is a page in a real browser, beside the API viewers of a load test."""

import itertools
import threading
import time

import torch

from longlive.benchmark.loadtest.assignments import (
    MIN_PICTURES,
    PictureContent,
    ViewerProfile,
    read_pictures,
)
from longlive.benchmark.loadtest.browser import BrowserPlan, BrowserRecording, record_page
from longlive.benchmark.loadtest.viewer_log import Behaviour, ViewerLog
from longlive.storybook.world.drawing import HEIGHT, WIDTH

OPENING_S = 60.0


class BrowserViewer:
    """One viewer in a Chromium and a thread of its own; it has the methods of an ``ApiViewer``."""

    def __init__(
        self, url: str, profile: ViewerProfile, behaviour: Behaviour, *, chromium: str, timeout_s: float
    ) -> None:
        """Begin to open the page at ``url``; ``wait_until_open`` returns when it is ready for ``start``."""
        self.profile, self.log = profile, ViewerLog()
        self.recording: BrowserRecording | None = None
        self._may_start, self._is_open = threading.Event(), threading.Event()
        self._plan = BrowserPlan(
            seconds=behaviour.seconds,
            switches=int(behaviour.seconds // behaviour.switch_every),
            prompts=[profile.prompt(turn) for turn in range(profile.num_prompts)],
            chromium=chromium,
            timeout_s=timeout_s,
            pictures=(WIDTH, HEIGHT) if behaviour.read_every else None,
            on_ready=self._wait_for_start,
            on_first_picture=self._note_first,
        )
        self._thread = threading.Thread(target=self._run, args=(url,), name="longlive-browser", daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.log.ended_at is not None

    @property
    def fps(self) -> float:
        """Pictures per second of the video."""
        return self._plan.fps

    def wait_until_open(self) -> None:
        """Return when the page is open, or cannot be opened."""
        self._is_open.wait(OPENING_S)

    def start(self, now: float) -> None:
        """Press Start."""
        self.log.started_at = now
        self._may_start.set()

    def step(self, now: float) -> None:
        """Do nothing: the thread does it all."""

    def give_up(self, now: float) -> None:
        """Do nothing: the thread gives up after the same time."""

    def close(self) -> None:
        """Close the page."""
        self._may_start.set()
        self._thread.join(OPENING_S)

    def contents(self) -> list[PictureContent]:
        """What the kept pictures show, for each series of them."""
        kept = [] if self.recording is None else self.recording.pictures
        return [read_pictures(series) for series in split_series(kept) if len(series) >= MIN_PICTURES]

    def _run(self, url: str) -> None:
        try:
            self.recording = record_page(url, "live", self._plan)
            self.log.end = "Stopped."
        except Exception as error:  # a browser that breaks is this viewer's result, not the end of the test
            self.log.end, self.log.has_failed = f"{type(error).__name__}: {error}".splitlines()[0], True
        self.log.ended_at = time.monotonic()
        self._is_open.set()

    def _wait_for_start(self) -> None:
        self._is_open.set()
        self._may_start.wait()

    def _note_first(self) -> None:
        self.log.first_at = time.monotonic()


def split_series(kept: list[tuple[float, bytes]]) -> list[torch.Tensor]:
    """Split kept pictures (second, RGB bytes) at gaps of over a second: uint8 (F, 3, 80, 128) each."""
    series: list[list[bytes]] = []
    for (before, _), (second, picture) in itertools.pairwise([(-1.0, b""), *kept]):
        if not series or second - before > 1:
            series.append([])
        series[-1].append(picture)
    pictures = [torch.frombuffer(bytearray(b"".join(one)), dtype=torch.uint8) for one in series]
    return [one.view(-1, HEIGHT, WIDTH, 3).permute(0, 3, 1, 2) for one in pictures]
