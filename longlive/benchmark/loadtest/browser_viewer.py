"""A viewer that is a page in a real browser, beside the programs of a load test."""

import itertools
import threading
import time

import torch

from longlive.benchmark.loadtest.api_viewer import Behaviour, Log
from longlive.benchmark.loadtest.assignments import FEWEST_PICTURES, Look, ViewerProfile, look
from longlive.benchmark.loadtest.browser import ViewerMetrics, Watch, watch
from longlive.storybook.world.drawing import HEIGHT, WIDTH

OPENING_S = 60.0


class BrowserViewer:
    """One viewer in a Chromium of its own, in a thread of its own; as Program to those who look after it."""

    def __init__(
        self, url: str, profile: ViewerProfile, habits: Behaviour, *, chromium: str, patience_s: float
    ) -> None:
        """Open the page at ``url``; it is ready for ``start`` after ``wait_until_open``."""
        self.profile, self.log = profile, Log()
        self.watching: ViewerMetrics | None = None
        self._go, self._is_open = threading.Event(), threading.Event()
        self._how = Watch(
            seconds=habits.seconds,
            switches=int(habits.seconds // habits.switch_every),
            prompts=[profile.prompt(turn) for turn in range(profile.num_prompts)],
            chromium=chromium,
            patience_s=patience_s,
            pictures=(WIDTH, HEIGHT) if habits.read_every else None,
            ready=self._wait_for_start,
            began=self._note_first,
        )
        self._thread = threading.Thread(target=self._run, args=(url,), name="longlive-tab", daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.log.ended_at is not None

    @property
    def fps(self) -> float:
        """Of the video."""
        return self._how.fps

    def wait_until_open(self) -> None:
        """Return when the page is open, or cannot be opened."""
        self._is_open.wait(OPENING_S)

    def start(self, now: float) -> None:
        """Press Start."""
        self.log.started_at = now
        self._go.set()

    def step(self, now: float) -> None:
        """Nothing: the page looks after itself."""

    def give_up(self, now: float) -> None:
        """Nothing: the page gives up by itself, by the same patience."""

    def close(self) -> None:
        """Close the page."""
        self._go.set()
        self._thread.join(OPENING_S)

    def looks(self) -> list[Look]:
        """What the pictures show that were kept, some in a row each."""
        kept = [] if self.watching is None else self.watching.pictures
        return [look(pictures) for pictures in bursts(kept) if len(pictures) >= FEWEST_PICTURES]

    def _run(self, url: str) -> None:
        try:
            self.watching = watch(url, "live", self._how)
            self.log.end = "It was stopped."
        except Exception as error:  # a browser that breaks is this viewer's figure, not the load's end
            self.log.end, self.log.has_failed = f"{type(error).__name__}: {error}".splitlines()[0], True
        self.log.ended_at = time.monotonic()
        self._is_open.set()

    def _wait_for_start(self) -> None:
        self._is_open.set()
        self._go.wait()

    def _note_first(self) -> None:
        self.log.first_at = time.monotonic()


def bursts(kept: list[tuple[float, bytes]]) -> list[torch.Tensor]:
    """Kept pictures (second, RGB bytes) in rows without a pause between them: uint8 (F, 3, 80, 128) each."""
    rows: list[list[bytes]] = []
    for (before, _), (second, picture) in itertools.pairwise([(-1.0, b""), *kept]):
        if not rows or second - before > 1:
            rows.append([])
        rows[-1].append(picture)
    pictures = [torch.frombuffer(bytearray(b"".join(row)), dtype=torch.uint8) for row in rows]
    return [row.view(-1, HEIGHT, WIDTH, 3).permute(0, 3, 1, 2) for row in pictures]
