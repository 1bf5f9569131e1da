"""What is counted of the engine's work, as Prometheus reads it.

metrics = Metrics()
metrics.watch("sessions", lambda: len(engine.runs))     # a gauge, asked when somebody reads
metrics.started()
metrics.made(12, chunk_s=0.18)
metrics.ended("complete")
metrics.text()                                          # what /metrics answers

Labels are few fixed words: no prompt, token or address of anybody can get into a metric.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Literal, get_args

import psutil
import torch
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from longlive.chunks import SWITCH_MODES, SwitchMode
from longlive.serving.executors.events import Failure

logger = logging.getLogger(__name__)

EndWord = Literal["stopped", "complete", "limit", "left", "failed"]
Way = Literal["exact", "quick"]
GaugeName = Literal["sessions", "queue", "parked", "room", "spool_bytes"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER = "other"
FAILURES_IN_A_ROW = 5
FAILING_S = 300.0
BELIEVED_STALLS = 20
BELIEVED_S = 600.0
LATELY_S = 10.0

_GAUGES: dict[str, str] = {
    "sessions": "Stories that are being made.",
    "queue": "Viewers who wait for a seat.",
    "parked": "Stories whose viewer is away and may come back.",
    "room": "Stories that can be made in real time, at the measured speed and in the memory.",
    "spool_bytes": "Bytes of all stories' spools on the disk.",
}
# Real time is 0.75 s a chunk: the buckets are finest below it.
_CHUNK_S = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 1, 1.5, 2, 3)
_WAITED_S = (0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30)


class Metrics:
    """Counters, histograms and gauges of one engine, in a registry of their own.

    Any thread may call any method. Words other than those of the types are counted as ``other``.
    """

    def __init__(self) -> None:
        """Every counter stands at 0 for every word from the start; gauges appear when they are watched."""
        disable_created_metrics()  # the time of birth of each series, as long again as the rest
        registry = self.registry = CollectorRegistry()
        self._started = Counter("longlive_runs_started", "Stories begun.", registry=registry)
        self._ended = _counter(registry, "runs_ended", "Stories ended, by why.", "reason", get_args(EndWord))
        self._failures = _counter(
            registry, "failures", "Things that broke, by what.", "kind", get_args(Failure)
        )
        self._resumes = _counter(
            registry, "resumes", "Stories that went on after a break.", "way", get_args(Way)
        )
        self._prompts = _counter(
            registry, "prompts", "Prompts taken while a story ran.", "switch", SWITCH_MODES
        )
        self._refused = Counter("longlive_prompts_refused", "Prompts that were not taken.", registry=registry)
        self._pictures = Counter("longlive_pictures", "Pictures made.", registry=registry)
        self._stalls = Counter(
            "longlive_stalls", "Stops of over 0.25 s, told by the players.", registry=registry
        )
        self._dropped = Counter(
            "longlive_dropped_messages", "Messages that a player never got.", registry=registry
        )
        self._chunk_s = _histogram(
            registry, "chunk_seconds", "Time from a chunk's turn to its video.", _CHUNK_S
        )
        self._first_s = _histogram(
            registry, "first_picture_seconds", "Seat to first picture on a screen.", _WAITED_S
        )
        self._prompt_s = _histogram(
            registry, "prompt_to_picture_seconds", "Prompt to its first picture on a screen.", _WAITED_S
        )
        ProcessCollector(registry=registry)
        threads = Gauge("longlive_threads", "Threads of the process, torch's among them.", registry=registry)
        threads.set_function(lambda: psutil.Process().num_threads())
        self._gauges: dict[str, Gauge] = {}
        self._lock = threading.Lock()
        self._last_ends: deque[tuple[bool, float]] = deque(maxlen=FAILURES_IN_A_ROW)
        self._lately: deque[tuple[float, int]] = deque()

    def started(self) -> None:
        """A story has begun."""
        self._started.inc()

    def ended(self, reason: EndWord) -> None:
        """A story is over: by its viewer, at its length, at a limit, because nobody was there, or broken."""
        self._ended.labels(_known(reason, get_args(EndWord))).inc()
        with self._lock:
            self._last_ends.append((reason == "failed", time.monotonic()))

    def failed(self, kind: Failure) -> None:
        """Something broke, whether the story went on or not."""
        self._failures.labels(_known(kind, get_args(Failure))).inc()

    def resumed(self, way: Way) -> None:
        """A story went on after a break."""
        self._resumes.labels(_known(way, get_args(Way))).inc()

    def prompted(self, switch: SwitchMode) -> None:
        """A prompt was taken."""
        self._prompts.labels(_known(switch, SWITCH_MODES)).inc()

    def refused(self) -> None:
        """A prompt was not taken."""
        self._refused.inc()

    def made(self, pictures: int, chunk_s: float | None = None) -> None:
        """A segment is ready; the last one of a chunk tells what the chunk took."""
        self._pictures.inc(pictures)
        if chunk_s is not None:
            self._chunk_s.observe(chunk_s)
        with self._lock:
            self._lately.append((time.monotonic(), pictures))
            self._drop_old()

    def stalled(self, times: int = 1) -> None:
        """A player says that its picture stood still; of one word, so many times are believed."""
        self._stalls.inc(min(max(times, 0), BELIEVED_STALLS))

    def dropped(self, messages: int = 1) -> None:
        """Messages were given up that a player never got."""
        self._dropped.inc(messages)

    def shown_first(self, seconds: float) -> None:
        """The first picture of a story was on the screen so long after it got its seat."""
        _believe(self._first_s, seconds)

    def shown_prompt(self, seconds: float) -> None:
        """The first picture of a prompt was on the screen so long after it was sent."""
        _believe(self._prompt_s, seconds)

    def watch(self, name: GaugeName, ask: Callable[[], float]) -> None:
        """Show a gauge from now on; ``ask`` is called whenever somebody reads, and must be quick.

        An ``ask`` that raises costs its own gauge alone, which then is NaN.
        """

        def answer() -> float:
            try:
                return float(ask())
            except Exception:  # of whatever is watched: the other figures are wanted all the more
                logger.exception("longlive_%s cannot be told", name)
                return math.nan

        with self._lock:
            if name not in self._gauges:
                self._gauges[name] = Gauge(f"longlive_{name}", _GAUGES[name], registry=self.registry)
            self._gauges[name].set_function(answer)

    def watch_gpu(self, device: torch.device) -> None:
        """Show the memory of a GPU that this process computes on; of a CPU, nothing."""
        if device.type != "cuda":
            return
        about = "Memory of the GPU: held by tensors, kept by torch, and free for anybody."
        gauge = Gauge("longlive_gpu_bytes", about, ["state"], registry=self.registry)
        gauge.labels("tensors").set_function(lambda: torch.cuda.memory_allocated(device))
        gauge.labels("torch").set_function(lambda: torch.cuda.memory_reserved(device))
        gauge.labels("free").set_function(lambda: torch.cuda.mem_get_info(device)[0])

    @property
    def fps(self) -> float:
        """Pictures per second that were made for all viewers together, in the last seconds."""
        with self._lock:
            self._drop_old()
            if not self._lately:
                return 0.0
            passed = time.monotonic() - self._lately[0][0]
            return sum(pictures for _, pictures in self._lately) / max(1.0, passed)

    @property
    def keeps_failing(self) -> bool:
        """Whether the last stories all failed, the last of them a short while ago."""
        with self._lock:
            ends = list(self._last_ends)
        is_full = len(ends) == FAILURES_IN_A_ROW and all(has_failed for has_failed, _ in ends)
        return is_full and time.monotonic() - ends[-1][1] < FAILING_S

    def text(self) -> bytes:
        """All of it in Prometheus' text format, of the type ``CONTENT_TYPE``."""
        return generate_latest(self.registry)

    def _drop_old(self) -> None:
        while self._lately and time.monotonic() - self._lately[0][0] > LATELY_S:
            self._lately.popleft()


def _believe(histogram: Histogram, seconds: float) -> None:
    """Note what a player tells, if it can be true: it may tell anything."""
    if 0 <= seconds <= BELIEVED_S:  # which no NaN is
        histogram.observe(seconds)


def _known(word: str, words: tuple[str, ...]) -> str:
    return word if word in words else OTHER


def _counter(
    registry: CollectorRegistry, name: str, about: str, label: str, words: tuple[str, ...]
) -> Counter:
    counter = Counter(f"longlive_{name}", about, [label], registry=registry)
    for word in words:
        counter.labels(word)
    return counter


def _histogram(registry: CollectorRegistry, name: str, about: str, buckets: tuple[float, ...]) -> Histogram:
    return Histogram(f"longlive_{name}", about, buckets=buckets, registry=registry)
