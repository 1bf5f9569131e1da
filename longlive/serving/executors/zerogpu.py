"""ZeroGPU as a carrier: a story is made in a worker that has a GPU for less than a minute at a time.

``spaces`` forks the worker from this process, or uses one again. It belongs to nobody: what it needs comes
with each lease, what it made comes back chunk by chunk, and prompts, playhead and stop reach it through a
mailbox on disk. Before its lease is over it stops at a chunk's end; the engine goes on in the next lease.
"""

import logging
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
import spaces
from spaces.config import Config

from longlive.config import ModelConfig
from longlive.errors import ConfigError, LostError, MailboxError
from longlive.media.h264 import AUTO
from longlive.models.model_card import ModelCard
from longlive.runtime.memory import GB
from longlive.runtime.startup import ProgressCallback, RuntimeOptions, ready_models
from longlive.serving.executors.events import ExecutorEvent, Finished, Preempted, SegmentEvent
from longlive.serving.executors.file_mailbox import FileMailbox
from longlive.serving.executors.job import Job
from longlive.serving.executors.messages import Message, Playhead, Prompt, Stop
from longlive.serving.executors.model_runner import ModelRunner
from longlive.serving.executors.stream_worker import StreamWorker

logger = logging.getLogger(__name__)

LEASE_S = 40.0
LEAST_S = 13.0
"""A shorter lease is not worth its start."""
QUOTA_MARGIN_S = 2.0
TRANSFER_S = 1.5
"""To bring back the last chunk and give the GPU back, before the platform takes it."""
PAUSE_WORDS = "The viewer pauses."
PAUSE_S = 5.0
"""A viewer who stands still for so long gives the GPU back until he goes on."""
ROOM = 8
MEMORY_BYTES = {"large": 48 * GB, "xlarge": 96 * GB}
"""Of the two sizes of GPU that are lent; this process has none that it could ask."""

WORKER_TITLE, QUEUE_TITLE = "ZeroGPU worker error", "ZeroGPU queue timeout"
_LEFT = re.compile(r"\((\d+)s requested vs\. (\d+)s left\)")


@dataclass(frozen=True)
class Lease:
    """Seconds of a GPU, from the moment that it is lent.

    Attributes:
        seconds: how many.
        since: that moment, of ``time.monotonic``, which all processes of a machine share; None until then.
    """

    seconds: float
    since: float | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """As it arrives in the worker: ``spaces`` pickles what it sends there once the GPU is lent."""
        return Lease, (self.seconds, time.monotonic())

    def left_s(self) -> float:
        """Seconds that are left of it."""
        return self.seconds - (time.monotonic() - self.since if self.since else 0.0)


def is_here() -> bool:
    """Whether this is a Space on ZeroGPU."""
    return Config.zero_gpu


def open_executor(
    name: str,
    choices: RuntimeOptions,
    tell: ProgressCallback,
    *,
    lease_s: float = LEASE_S,
    size: str = "large",
) -> "ZeroGpuExecutor":
    """Load a model where no GPU is, for one that will be lent; in the thread that imported ``spaces``.

    Args:
        name, choices, tell: as for ``startup.start``.
        lease_s, size: as for ZeroGpuCarrier.

    Raises:
        CheckpointError, ConfigError, FitError: as ``startup.start``.
    """
    _check(lease_s, size)
    if choices.compile != "off":
        rule = "a worker on ZeroGPU has no time to compile"
        raise ConfigError("compile", choices.compile, rule, "Use 'off'.")
    if choices.encoder == AUTO:
        choices = replace(choices, encoder="x264")  # to look for NVENC would touch CUDA
    models = ready_models(name, choices, tell, free=MEMORY_BYTES[size])
    return ZeroGpuExecutor(models, lease_s=lease_s, size=size)


class ZeroGpuExecutor:
    """Carries each run in a worker of its own, lease by lease.

    Made before the page is launched: ``spaces`` asks then what will need a GPU. All that does is in one
    function, since each has its own workers.

    Attributes:
        paused: names of the runs whose viewers have given the GPU back and not gone on yet.
    """

    name = "zerogpu"

    def __init__(
        self,
        models: Any,
        *,
        lease_s: float = LEASE_S,
        size: str = "large",
        room: int = ROOM,
        make_studio: Callable[[Any], ModelRunner] = ModelRunner,
    ) -> None:
        """Serve ``models``, which were loaded here and are never computed with here.

        Args:
            models: a ModelBundle.
            lease_s: what is asked for at a time, if the visitor's quota has it.
            size: of the GPU, one of MEMORY_BYTES.
            room: leases at once; beyond what the platform has, it lets them wait.
            make_studio: makes a worker's studio.

        Raises:
            ConfigError: for an impossible lease or size.
        """
        _check(lease_s, size)
        self.config: ModelConfig = models.config
        self.card: ModelCard = models.card
        self.lease_s = lease_s
        self.folder = Path(tempfile.mkdtemp(prefix="longlive-mail-"))
        self._models, self._room, self._make_studio = models, room, make_studio
        self._studio: ModelRunner | None = None
        self.paused: set[str] = set()
        self.work = spaces.GPU(self._make, duration=_duration, size=size)  # type: ignore[call-overload]

    def room(self) -> int:
        """As in Carrier."""
        return self._room

    def start(self, order: Job) -> "ZeroGpuHandle":
        """As in Carrier."""
        return ZeroGpuHandle(self, order)

    def warm_up(self) -> None:
        """Nothing: there is no GPU to do it on."""

    def close(self) -> None:
        """As in Carrier."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make(self, order: Job, folder: Path, lease: Lease) -> Iterator[ExecutorEvent]:
        """What the worker does."""
        self._studio = studio = self._studio or self._make_studio(self._models)
        lease = lease if lease.since else Lease(lease.seconds, time.monotonic())
        chunk_s: list[float] = []  # the first took the way there too
        producer = StreamWorker(
            order,
            FileMailbox(folder),
            studio,
            left_s=lambda: lease.left_s() - TRANSFER_S - 2 * max(chunk_s[1:], default=0.0),
        )
        for report in producer.reports():
            if isinstance(report, SegmentEvent) and report.kept:
                chunk_s.append(report.chunk_ms / 1000)
            yield report


class ZeroGpuHandle:
    """A run in one lease."""

    def __init__(self, carrier: ZeroGpuExecutor, order: Job) -> None:
        """Nothing is asked for before ``reports``."""
        self._carrier, self._order = carrier, order
        self._folder = carrier.folder / f"{order.name}-{secrets.token_hex(4)}"
        weakref.finalize(self, _remove, self._folder, os.getpid())
        past = order.past
        self._mailbox = FileMailbox(self._folder, begun=len(past.latents) - 1 if past else -1)
        self._changed = threading.Condition()
        self._stop: Stop | None = None
        self._end_s = past.num_frames / carrier.config.fps if past else 0.0
        self._seen_s = order.playhead.seconds if order.playhead else 0.0
        self._still_since = time.monotonic() if order.name in carrier.paused else None
        self._is_given_back = self._is_unheard = False

    @property
    def begun(self) -> int:
        """As in Carriage."""
        return self._mailbox.begun

    def post(self, message: Message) -> Message:
        """As in Carriage; a viewer who pauses for long gives the GPU back, and with it what is left of it.

        Raises:
            MailboxError: if a prompt cannot be left (a full disk). A stop is obeyed all the same.
        """
        posted = self._leave(message)
        with self._changed:
            if isinstance(message, Stop):
                self._stop = message
            elif isinstance(message, Playhead):
                self._seen_s = message.seconds
                self._still_since = None if message.playing else self._still_since or time.monotonic()
            self._changed.notify_all()
            if self._is_still(PAUSE_S) and not self._is_given_back:
                self._is_given_back = True
                self._leave(Stop(PAUSE_WORDS))
        return posted

    def _leave(self, message: Message) -> Message:
        try:
            return self._mailbox.post(message)
        except MailboxError as error:
            if isinstance(message, Prompt):
                raise
            logger.warning("run %s: %s", self._order.name, error)
            self._is_unheard = self._is_unheard or isinstance(message, Stop)
            return message

    def reports(self) -> Iterator[ExecutorEvent]:
        """As in Carriage; the last report comes when the GPU has been given back.

        What ``spaces`` asks of the visitor's request it finds in the context of the thread that reads.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stop or not self._is_still())
        self._carrier.paused.discard(self._order.name)
        if self._stop is not None:
            yield Finished(self._stop.reason, self._stop.keep)
            return
        try:
            yield from self._lent(self._carrier.lease_s)
        except gr.Error as error:
            lease_s = affordable(_words(error), self._carrier.lease_s)
            if lease_s is None:
                yield self._refused(error)
                return
            try:
                yield from self._lent(lease_s)
            except gr.Error as error:
                yield self._refused(error)

    def _is_still(self, seconds: float = 0.0) -> bool:
        """Whether the viewer has stood still for so long, with pictures to go on with."""
        if self._still_since is None or time.monotonic() - self._still_since < seconds:
            return False
        return self._end_s - self._seen_s > self._order.limits.ahead_s / 2

    def _lent(self, lease_s: float) -> Iterator[ExecutorEvent]:
        """The reports of a worker that has the GPU for so long; what ``spaces`` says for people is raised."""
        last: ExecutorEvent | None = None
        with (
            _losses_in_words(),
            closing(self._carrier.work(self._order, self._folder, Lease(lease_s))) as made,
        ):
            for last in made:
                if isinstance(last, SegmentEvent):
                    self._end_s = (last.segment.first_frame + last.segment.num_frames) / last.segment.fps
                if not isinstance(last, Finished | Preempted):
                    yield from self._handed_on(last)
                if self._is_unheard:
                    last = Finished("Nobody heard the stop.")
                    break
        if isinstance(last, Finished | Preempted):
            yield self._meant(last)

    def _handed_on(self, report: ExecutorEvent) -> Iterator[ExecutorEvent]:
        """One report; if that was the last that anybody wants to read, the worker is told."""
        try:
            yield report
        except GeneratorExit:
            self._leave(Stop("Nobody reads what is made."))
            raise

    def _meant(self, last: Finished | Preempted) -> ExecutorEvent:
        """What a worker's last word means to the story: one that only pauses does not end."""
        if isinstance(last, Preempted) or last.failed:
            return last
        if self._stop is not None:
            return Finished(self._stop.reason, self._stop.keep)
        if self._is_given_back:
            self._carrier.paused.add(self._order.name)
            return Preempted(PAUSE_WORDS)
        return last

    def _refused(self, error: gr.Error) -> ExecutorEvent:
        """What a refusal means to the story: the GPUs are busy, or this visitor gets none."""
        words = _words(error).strip()
        if error.title == QUEUE_TITLE:
            return Preempted(words)
        if self._order.past is None:
            return Finished(words, failed=True)
        return Finished(f"The story ends here. {words}")


@contextmanager
def _losses_in_words() -> Iterator[None]:
    """Whatever ends a lease and is no refusal means that the worker is lost."""
    try:
        yield
    except gr.Error as error:
        if error.title != WORKER_TITLE:
            raise
        raise LostError(f"The GPU was taken away: {_words(error)}.") from error
    except Exception as error:
        raise LostError(f"ZeroGPU failed: {type(error).__name__}: {error}.") from error


def affordable(words: str, lease_s: float) -> float | None:
    """The lease that a refusal leaves room for; None if there is none worth its start.

    Args:
        words: of ``spaces``, about a request of ``lease_s``. What it names as requested may be more: some
            GPUs count for more than their time.
        lease_s: what was asked for.
    """
    if not (found := _LEFT.search(words)):
        return None
    requested, left = map(int, found.groups())
    seconds = (left - QUOTA_MARGIN_S) * lease_s / max(1, requested)
    return seconds if LEAST_S <= seconds < lease_s else None


def _duration(order: Job, folder: Path, lease: Lease) -> int:
    """What is asked of ``spaces``; it is called with what the worker gets."""
    return int(lease.seconds)


def _check(lease_s: float, size: str) -> None:
    if not LEAST_S <= lease_s <= 120:
        rule = f"a lease must last from {LEAST_S:.0f} to 120 seconds"
        raise ConfigError("lease_s", lease_s, rule, f"{LEASE_S:.0f} is a good choice.")
    if size not in MEMORY_BYTES:
        raise ConfigError("size", size, f"it must be one of {tuple(MEMORY_BYTES)}", "Use 'large'.")


def _words(error: gr.Error) -> str:
    """What an error says to people; of some, HTML would come otherwise."""
    return str(error.message)


def _remove(folder: Path, owner: int) -> None:
    """Remove a folder, but not from a worker, which was forked with all that this process had."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
