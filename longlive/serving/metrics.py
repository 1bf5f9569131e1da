"""Metrics of the engine, for Prometheus.

metrics = Metrics()
metrics.watch("sessions", lambda: len(engine.runs))     # a gauge, read when somebody scrapes
metrics.count_start()
metrics.count_pictures(12, chunk_s=0.18)
metrics.count_end("complete")
metrics.text()                                          # what /metrics answers

Labels are a few fixed words: no prompt, token or address can get into a metric.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
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
from longlive.serving.codes import FailureKind
from longlive.serving.rendering.prompt_stages import STAGES

logger = logging.getLogger(__name__)

EndLabel = Literal["stopped", "complete", "limit", "abandoned", "failed"]
ResumeKind = Literal["exact", "quick"]
GaugeName = Literal["sessions", "queue_length", "suspended", "capacity", "store_bytes"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER = "other"
FAILURES_IN_A_ROW = 5
FAILING_S = 300.0
MAX_STALLS_PER_REPORT = 20
MAX_REPORTED_S = 600.0
FPS_WINDOW_S = 10.0

_GAUGES: dict[str, str] = {
    "sessions": "Runs that are being made.",
    "queue_length": "Runs that wait for a slot.",
    "suspended": "Runs whose viewer is away and may come back.",
    "capacity": "Runs that can be made in real time, at the measured speed and in the memory.",
    "store_bytes": "Bytes of all runs on disk.",
}
# Real time is 0.75 s a chunk: the buckets are finest below it.
_CHUNK_S = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 1, 1.5, 2, 3)
_STAGE_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_WAIT_S = (0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30)


class Metrics:
    """Counters, histograms and gauges of one engine, in a registry of their own.

    Any thread may call any method. Labels other than those of the types are counted as ``other``.
    """

    def __init__(self) -> None:
        """Every counter starts at 0 for every label; gauges appear when they are watched."""
        disable_created_metrics()  # they would double the output
        registry = self.registry = CollectorRegistry()
        self._started = Counter("longlive_runs_started", "Runs started.", registry=registry)
        self._ended = _counter(registry, "runs_ended", "Runs ended, by reason.", "reason", get_args(EndLabel))
        self._failures = _counter(registry, "failures", "Failures, by kind.", "kind", get_args(FailureKind))
        self._resumes = _counter(
            registry, "resumes", "Runs that went on after an interruption.", "mode", get_args(ResumeKind)
        )
        self._prompts = _counter(
            registry, "prompts", "Prompts accepted while a run was going on.", "switch", SWITCH_MODES
        )
        self._refused = Counter("longlive_prompts_refused", "Prompts refused.", registry=registry)
        self._pictures = Counter("longlive_pictures", "Pictures made.", registry=registry)
        self._stalls = Counter(
            "longlive_stalls", "Stalls of over 0.25 s, reported by players.", registry=registry
        )
        self._dropped = Counter(
            "longlive_dropped_messages", "Events that no follower read.", registry=registry
        )
        self._dropped_chunks = Counter(
            "longlive_dropped_chunks", "Chunks dropped unseen, for a new prompt.", registry=registry
        )
        self._chunk_s = _histogram(
            registry, "chunk_seconds", "Seconds from a chunk's start to its segment.", _CHUNK_S
        )
        self._first_s = _histogram(
            registry,
            "first_picture_seconds",
            "Seconds from admission to the first picture on a screen.",
            _WAIT_S,
        )
        self._prompt_s = _histogram(
            registry,
            "prompt_to_picture_seconds",
            "Seconds from a prompt to its first picture on a screen.",
            _WAIT_S,
        )
        self._stage_s = Histogram(
            "longlive_prompt_stage_seconds",
            "Seconds that a stage took between a prompt and its first segment.",
            ["stage"],
            buckets=_STAGE_S,
            registry=registry,
        )
        for stage in STAGES:
            self._stage_s.labels(stage)
        ProcessCollector(registry=registry)
        threads = Gauge("longlive_threads", "Threads of the process, torch's among them.", registry=registry)
        threads.set_function(lambda: psutil.Process().num_threads())
        self._gauges: dict[str, Gauge] = {}
        self._lock = threading.Lock()
        self._last_ends: deque[tuple[bool, float]] = deque(maxlen=FAILURES_IN_A_ROW)
        self._recent: deque[tuple[float, int]] = deque()

    def count_start(self) -> None:
        """Count a run that was started."""
        self._started.inc()

    def count_end(self, reason: EndLabel) -> None:
        """Count a run that is over: by its viewer, at its length, at a limit, abandoned, or failed."""
        self._ended.labels(_known(reason, get_args(EndLabel))).inc()
        with self._lock:
            self._last_ends.append((reason == "failed", time.monotonic()))

    def count_failure(self, kind: FailureKind) -> None:
        """Count a failure, whether the run went on or not."""
        self._failures.labels(_known(kind, get_args(FailureKind))).inc()

    def count_resume(self, mode: ResumeKind) -> None:
        """Count a run that goes on after an interruption."""
        self._resumes.labels(_known(mode, get_args(ResumeKind))).inc()

    def count_prompt(self, switch: SwitchMode) -> None:
        """Count a prompt that was accepted."""
        self._prompts.labels(_known(switch, SWITCH_MODES)).inc()

    def count_refused_prompt(self) -> None:
        """Count a prompt that was refused."""
        self._refused.inc()

    def count_pictures(self, pictures: int, chunk_s: float | None = None) -> None:
        """Count the pictures of a segment; the last one of a chunk says what the chunk took."""
        self._pictures.inc(pictures)
        if chunk_s is not None:
            self._chunk_s.observe(chunk_s)
        with self._lock:
            self._recent.append((time.monotonic(), pictures))
            self._drop_old()

    def count_stalls(self, times: int = 1) -> None:
        """Count stalls that a player reports, at most MAX_STALLS_PER_REPORT at a time."""
        self._stalls.inc(min(max(times, 0), MAX_STALLS_PER_REPORT))

    def count_dropped(self, events: int = 1) -> None:
        """Count events that no follower read."""
        self._dropped.inc(events)

    def count_dropped_chunks(self, chunks: int = 1) -> None:
        """Count chunks that were made and dropped before anybody saw them."""
        self._dropped_chunks.inc(chunks)

    def observe_first_picture(self, seconds: float) -> None:
        """The first picture of a run was on the screen so long after its admission."""
        _observe_plausible(self._first_s, seconds)

    def observe_prompt_latency(self, seconds: float) -> None:
        """The first picture of a prompt was on the screen so long after it was sent."""
        _observe_plausible(self._prompt_s, seconds)

    def observe_prompt_stages(self, stage_ms: Mapping[str, float]) -> None:
        """The first segment of a prompt was made; milliseconds by stage, of those in ``STAGES``."""
        for stage, milliseconds in stage_ms.items():
            self._stage_s.labels(_known(stage, STAGES)).observe(milliseconds / 1000)

    def watch(self, name: GaugeName, read: Callable[[], float]) -> None:
        """Export a gauge from now on; ``read`` is called at every scrape and must be quick.

        If ``read`` raises, its gauge is NaN and the others are exported all the same.
        """

        def value() -> float:
            try:
                return float(read())
            except Exception:
                logger.exception("longlive_%s could not be read", name)
                return math.nan

        with self._lock:
            if name not in self._gauges:
                self._gauges[name] = Gauge(f"longlive_{name}", _GAUGES[name], registry=self.registry)
            self._gauges[name].set_function(value)

    def watch_gpu(self, device: torch.device) -> None:
        """Export the memory of a GPU that this process computes on; of a CPU, nothing."""
        if device.type != "cuda":
            return
        about = "GPU memory in bytes: held by tensors, reserved by torch, and free."
        gauge = Gauge("longlive_gpu_bytes", about, ["state"], registry=self.registry)
        gauge.labels("tensors").set_function(lambda: torch.cuda.memory_allocated(device))
        gauge.labels("torch").set_function(lambda: torch.cuda.memory_reserved(device))
        gauge.labels("free").set_function(lambda: torch.cuda.mem_get_info(device)[0])

    @property
    def fps(self) -> float:
        """Pictures per second made for all viewers together, over the last FPS_WINDOW_S seconds."""
        with self._lock:
            self._drop_old()
            if not self._recent:
                return 0.0
            passed = time.monotonic() - self._recent[0][0]
            return sum(pictures for _, pictures in self._recent) / max(1.0, passed)

    @property
    def keeps_failing(self) -> bool:
        """Whether the last FAILURES_IN_A_ROW runs all failed, the last one within FAILING_S seconds."""
        with self._lock:
            ends = list(self._last_ends)
        is_full = len(ends) == FAILURES_IN_A_ROW and all(has_failed for has_failed, _ in ends)
        return is_full and time.monotonic() - ends[-1][1] < FAILING_S

    def text(self) -> bytes:
        """All of it in Prometheus' text format, of the type ``CONTENT_TYPE``."""
        return generate_latest(self.registry)

    def _drop_old(self) -> None:
        while self._recent and time.monotonic() - self._recent[0][0] > FPS_WINDOW_S:
            self._recent.popleft()


def _observe_plausible(histogram: Histogram, seconds: float) -> None:
    """Record what a player reports, if it can be true."""
    if 0 <= seconds <= MAX_REPORTED_S:  # False for NaN
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
