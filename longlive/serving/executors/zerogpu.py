"""ZeroGPU as an executor: a run is made in a worker that has a GPU for less than a minute at a time.

``spaces`` forks the worker from this process, or uses one again. The worker keeps nothing of a run: what it
needs comes with each lease, what it made comes back chunk by chunk, and prompts, playhead and stop reach it
through a mailbox on disk. Before its lease is over it stops at a chunk boundary; the run goes on in the next.
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
from longlive.generation.session_file import describe_models
from longlive.media.h264 import AUTO
from longlive.models.bundle import ModelBundle
from longlive.models.model_card import ModelCard
from longlive.models.transformer import CausalWanTransformer
from longlive.runtime.aot.package import compile_package, package_folder
from longlive.runtime.aot.parts import apply_package
from longlive.runtime.memory import GB
from longlive.runtime.startup import ProgressCallback, RuntimeOptions, ready_models
from longlive.serving.executors.events import ExecutorEvent, Failure, Finished, Preempted, SegmentEvent
from longlive.serving.executors.file_mailbox import FileMailbox
from longlive.serving.executors.job import Job
from longlive.serving.executors.messages import Message, Playhead, Prompt, Reschedule, Stop, Suspend
from longlive.serving.executors.model_runner import ModelRunner
from longlive.serving.executors.stream_worker import StreamWorker

logger = logging.getLogger(__name__)

DEFAULT_LEASE_S = 40.0
MIN_LEASE_S, MAX_LEASE_S = 13.0, 120.0
"""A shorter lease is not worth its start; a longer one is never granted."""
QUOTA_MARGIN_S = 2.0
TRANSFER_S = 1.5
"""To bring back the last chunk and return the GPU, before the platform takes it."""
PAUSE_S = 5.0
"""A viewer who stands still for so long returns the GPU until the video plays again."""
COMPILE_S = 600
"""To compile the blocks at the start, once; the worker returns the GPU as soon as it is done."""
CAPACITY = 8
MEMORY_BYTES = {"large": 48 * GB, "xlarge": 96 * GB}
"""Of the two sizes of GPU that are lent; this process has none that it could ask."""

WORKER_ERROR_TITLE, QUEUE_TIMEOUT_TITLE = "ZeroGPU worker error", "ZeroGPU queue timeout"
_QUOTA_LEFT = re.compile(r"\((\d+)s requested vs\. (\d+)s left\)")


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
        """Pickled, it starts: ``spaces`` pickles what it sends to the worker once the GPU is lent."""
        return Lease, (self.seconds, time.monotonic())

    def left_s(self) -> float:
        """Seconds that are left of it."""
        return self.seconds - (time.monotonic() - self.since if self.since else 0.0)


def is_available() -> bool:
    """Whether this is a Space on ZeroGPU."""
    return Config.zero_gpu


def open_executor(
    name: str,
    options: RuntimeOptions,
    progress: ProgressCallback,
    *,
    lease_s: float = DEFAULT_LEASE_S,
    size: str = "large",
) -> "ZeroGpuExecutor":
    """Load a model where no GPU is, for one that will be lent; in the thread that imported ``spaces``.

    Args:
        name, options, progress: as for ``startup.start``.
        lease_s, size: as for ZeroGpuExecutor.

    Raises:
        CheckpointError, ConfigError, FitError: as ``startup.start``.
    """
    _check(lease_s, size)
    if options.compile not in ("off", "aot"):
        rule = "a worker on ZeroGPU has no time to compile"
        raise ConfigError("compile", options.compile, rule, "Use 'aot' or 'off'.")
    if options.encoder == AUTO:
        options = replace(options, encoder="x264")  # to look for NVENC would touch CUDA
    eager = RuntimeOptions.of(vars(options) | {"compile": "off"})
    models = ready_models(name, eager, progress, free=MEMORY_BYTES[size])
    if options.compile == "aot":
        compile_blocks(models, progress, size=size)
    return ZeroGpuExecutor(models, lease_s=lease_s, size=size)


def compile_blocks(models: ModelBundle, progress: ProgressCallback, *, size: str = "large") -> None:
    """Compile the blocks in a worker that is lent a GPU, and apply them here, for all workers to come.

    If that fails, the log says why, and blocks run eagerly.

    Args:
        models: loaded here, where no GPU is.
        progress: is given a line for people before and after.
        size: of the GPU, as for ZeroGpuExecutor.
    """
    try:
        folder, failure = package_folder(models.transformer), ""
        if not folder.is_dir():
            progress("compiling the blocks ahead of time on a GPU")
            failure = _compile_on_gpu(models.transformer, folder, size)
    except ConfigError as error:
        failure = str(error)
    except gr.Error as error:
        failure = _message(error)
    if failure:
        logger.warning("the blocks could not be compiled ahead of time: %s", failure)
        progress(f"blocks run eagerly: {failure}")
        return
    for transformer in models.transformers:
        apply_package(transformer, folder)
    progress(f"blocks run by {folder}")


def _compile_on_gpu(transformer: CausalWanTransformer, folder: Path, size: str) -> str:
    """Why it failed there; empty if it did not. gr.Error if no GPU is lent, or if the worker is lost."""

    def compile_there() -> str:
        # In words: of an error that is raised there, only the name of its class comes back.
        try:
            compile_package(transformer, folder)
        except ConfigError as error:
            return str(error)
        return ""

    lent: Callable[[], str] = spaces.GPU(compile_there, duration=COMPILE_S, size=size)  # type: ignore[call-overload]
    return lent()


class ZeroGpuExecutor:
    """Makes each run in a worker of its own, lease by lease; see Executor.

    Made before the page is launched: ``spaces`` asks then what will need a GPU. All that does is in one
    function, since each has its own workers.
    """

    name = "zerogpu"

    def __init__(
        self,
        models: Any,
        *,
        lease_s: float = DEFAULT_LEASE_S,
        size: str = "large",
        capacity: int = CAPACITY,
        make_runner: Callable[[Any], ModelRunner] = ModelRunner,
    ) -> None:
        """Serve ``models``, which were loaded here and are never computed with here.

        Args:
            models: a ModelBundle.
            lease_s: what is asked for at a time, if the visitor's quota has it.
            size: of the GPU, one of MEMORY_BYTES.
            capacity: leases at once; what the platform does not have, it queues.
            make_runner: makes a worker's ModelRunner.

        Raises:
            ConfigError: for an impossible lease or size.
        """
        _check(lease_s, size)
        self.config: ModelConfig = models.config
        self.card: ModelCard = models.card
        self.lease_s = lease_s
        self.folder = Path(tempfile.mkdtemp(prefix="longlive-mail-"))
        self._models, self._capacity, self._make_runner = models, capacity, make_runner
        self._runner: ModelRunner | None = None
        self.work = spaces.GPU(self._make, duration=_duration, size=size)  # type: ignore[call-overload]

    def describe(self) -> dict[str, Any]:
        """What ``describe_models`` says of the model."""
        return describe_models(self._models)

    def capacity(self) -> int:
        """How many leases may be asked for at once."""
        return self._capacity

    def start(self, job: Job) -> "ZeroGpuHandle":
        """A handle of the job; the GPU is asked for when its events are read."""
        return ZeroGpuHandle(self, job)

    def warm_up(self) -> None:
        """Nothing: there is no GPU to do it on."""

    def close(self) -> None:
        """Remove the mailboxes."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make(self, job: Job, folder: Path, lease: Lease) -> Iterator[ExecutorEvent]:
        """What the worker does."""
        self._runner = runner = self._runner or self._make_runner(self._models)
        lease = lease if lease.since else Lease(lease.seconds, time.monotonic())
        chunk_s: list[float] = []  # the first took the way there too
        worker = StreamWorker(
            job,
            FileMailbox(folder),
            runner,
            lease_left_s=lambda: lease.left_s() - TRANSFER_S - 2 * max(chunk_s[1:], default=0.0),
        )
        for event in worker.events():
            if isinstance(event, SegmentEvent) and event.checkpoint:
                chunk_s.append(event.chunk_ms / 1000)
            yield event


class ZeroGpuHandle:
    """A run in one lease; see StreamHandle."""

    def __init__(self, executor: ZeroGpuExecutor, job: Job) -> None:
        """Nothing is asked for before ``events``."""
        self._executor, self._job = executor, job
        self._folder = executor.folder / f"{job.name}-{secrets.token_hex(4)}"
        weakref.finalize(self, _remove, self._folder, os.getpid())
        state = job.resume
        self._mailbox = FileMailbox(self._folder, started_chunk=len(state.latents) - 1 if state else -1)
        self._changed = threading.Condition()
        self._stop: Stop | None = None
        self._is_suspended = False
        self._end_s = state.num_frames / executor.config.fps if state else 0.0
        self._seen_s = job.playhead.seconds if job.playhead else 0.0
        self._still_since = None if job.playhead is None or job.playhead.playing else time.monotonic()
        self._is_paused = self._was_unheard = False

    @property
    def started_chunk(self) -> int:
        """The chunk that was started last; -1 before the first."""
        return self._mailbox.started_chunk

    def post(self, message: Message) -> Message:
        """Send a message; returns it as ``Mailbox.post`` does.

        A viewer who pauses for long returns the GPU, and with it what is left of the lease.

        Raises:
            MailboxError: if a prompt cannot be left (a full disk). A stop is obeyed all the same.
        """
        posted = self._leave(message)
        with self._changed:
            if isinstance(message, Stop):
                self._stop = message
            elif isinstance(message, Suspend):
                self._is_suspended = True
            elif isinstance(message, Playhead):
                self._seen_s = message.seconds
                self._still_since = None if message.playing else self._still_since or time.monotonic()
            self._changed.notify_all()
            if self._stands_still(PAUSE_S) and not self._is_paused:
                self._is_paused = True
                self._leave(Suspend())
        return posted

    def events(self) -> Iterator[ExecutorEvent]:
        """What is made, as it is made; the last event comes when the GPU has been returned.

        What ``spaces`` asks of the visitor's request it finds in the context of the thread that reads.

        Raises:
            LostError: if the worker is gone.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stop or self._is_suspended or not self._stands_still())
        if self._stop is not None:
            yield Finished(self._stop.reason)
            return
        if self._is_suspended:
            yield Preempted("suspended")
            return
        try:
            yield from self._lent(self._executor.lease_s)
        except gr.Error as error:
            lease_s = affordable(_message(error), self._executor.lease_s)
            if lease_s is None:
                yield self._refused(error)
                return
            try:
                yield from self._lent(lease_s)
            except gr.Error as error:
                yield self._refused(error)

    def _leave(self, message: Message) -> Message:
        try:
            return self._mailbox.post(message)
        except MailboxError as error:
            if isinstance(message, Prompt | Reschedule):
                raise
            logger.warning("run %s: %s", self._job.name, error)
            self._was_unheard = self._was_unheard or isinstance(message, Stop | Suspend)
            return message

    def _stands_still(self, seconds: float = 0.0) -> bool:
        """Whether the viewer has stood still for so long, with pictures to go on with."""
        if self._still_since is None or time.monotonic() - self._still_since < seconds:
            return False
        return self._end_s - self._seen_s > self._job.limits.buffer_ahead_s / 2

    def _lent(self, lease_s: float) -> Iterator[ExecutorEvent]:
        """The events of a worker that has the GPU for so long; gr.Error if ``spaces`` refuses."""
        last: ExecutorEvent | None = None
        with (
            _lost_errors(),
            closing(self._executor.work(self._job, self._folder, Lease(lease_s))) as made,
        ):
            for last in made:
                if isinstance(last, SegmentEvent):
                    self._end_s = (last.segment.first_frame + last.segment.num_frames) / last.segment.fps
                if not isinstance(last, Finished | Preempted):
                    yield from self._passed_on(last)
                if self._was_unheard:
                    last = Preempted("suspended")
                    break
        if isinstance(last, Finished | Preempted):
            yield self._outcome(last)

    def _passed_on(self, event: ExecutorEvent) -> Iterator[ExecutorEvent]:
        """One event; if nobody reads any more, the worker is stopped."""
        try:
            yield event
        except GeneratorExit:
            self._leave(Stop("closed"))
            raise

    def _outcome(self, last: Finished | Preempted) -> ExecutorEvent:
        """What a worker's last event means to the run."""
        if isinstance(last, Finished) and last.failure is not None:
            return last
        if self._stop is not None:
            return Finished(self._stop.reason)
        if self._is_paused and not self._is_suspended and last == Preempted("suspended"):
            return Preempted("paused")
        return last

    def _refused(self, error: gr.Error) -> ExecutorEvent:
        """What a refusal means to the run: the GPUs are busy, or this visitor gets none."""
        message = _message(error).strip()
        if error.title == QUEUE_TIMEOUT_TITLE:
            return Preempted("gpu_busy", message)
        return Finished("quota", Failure("quota", message))


@contextmanager
def _lost_errors() -> Iterator[None]:
    """Whatever ends a lease and is no refusal means that the worker is lost."""
    try:
        yield
    except gr.Error as error:
        if error.title != WORKER_ERROR_TITLE:
            raise
        raise LostError(f"The GPU was taken away: {_message(error)}.") from error
    except Exception as error:
        raise LostError(f"ZeroGPU failed: {type(error).__name__}: {error}.") from error


def affordable(message: str, lease_s: float) -> float | None:
    """The lease that a refusal leaves quota for; None if there is none worth its start.

    Args:
        message: of ``spaces``, about a request of ``lease_s``. What it names as requested may be more: some
            GPUs count for more than their time.
        lease_s: what was asked for.
    """
    if not (found := _QUOTA_LEFT.search(message)):
        return None
    requested, left = map(int, found.groups())
    seconds = (left - QUOTA_MARGIN_S) * lease_s / max(1, requested)
    return seconds if MIN_LEASE_S <= seconds < lease_s else None


def _duration(job: Job, folder: Path, lease: Lease) -> int:
    """What is asked of ``spaces``; it is called with what the worker gets."""
    return int(lease.seconds)


def _check(lease_s: float, size: str) -> None:
    if not MIN_LEASE_S <= lease_s <= MAX_LEASE_S:
        rule = f"a lease must last from {MIN_LEASE_S:.0f} to {MAX_LEASE_S:.0f} seconds"
        raise ConfigError("lease_s", lease_s, rule, f"{DEFAULT_LEASE_S:.0f} is a good choice.")
    if size not in MEMORY_BYTES:
        raise ConfigError("size", size, f"it must be one of {tuple(MEMORY_BYTES)}", "Use 'large'.")


def _message(error: gr.Error) -> str:
    """The message alone; ``str`` of some errors gives HTML."""
    return str(error.message)


def _remove(folder: Path, owner: int) -> None:
    """Remove a folder, but not from a worker, which was forked with all that this process had."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
