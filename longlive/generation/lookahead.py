"""Pipelining: the next chunk is denoised while the one before is decoded and encoded.

On a GPU, decoding runs on a stream of its own and encoding on the host; on a CPU, each takes a core.

Threads are reused: torch caches cuDNN's execution plans per thread, and a new thread would build those of
each attention again while a viewer waits for the first picture.
"""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from torch import Tensor

from longlive.chunks import LatentChunk

OnLatents = Callable[[LatentChunk], None]
"""Called with a chunk as soon as its latents are clean; a device may still compute them."""

OnStep = Callable[[float, Tensor], None]
"""Called after each denoising step with its timestep in [0, 1000] and the chunk's clean latents so far."""


def ignore_step(timestep: float, clean: Tensor) -> None:
    """Do nothing after a step."""


Result = TypeVar("Result")

_idle: list[ThreadPoolExecutor] = []
os.register_at_fork(after_in_child=_idle.clear)  # a child process has none of these threads


def _take_thread() -> ThreadPoolExecutor:
    try:
        return _idle.pop()
    except IndexError:
        return ThreadPoolExecutor(1, thread_name_prefix="longlive-ahead")


def run_in_pipeline_thread(function: Callable[[], Result]) -> Result:
    """Call a function in the thread that the next Pipeline will take, to warm it up; return its result."""
    thread = _take_thread()
    try:
        return thread.submit(function).result()
    finally:
        _idle.append(thread)


class Pipeline:
    """Makes chunks ahead, one at a time, in a thread that no other has meanwhile."""

    def __init__(self, make: Callable[[OnLatents], object]) -> None:
        """``make`` makes the next chunk, and passes it to its argument once, possibly before it returns."""
        self._make = make
        self._thread: ThreadPoolExecutor | None = _take_thread()
        self._chunk: Future[LatentChunk] | None = None
        self._jobs: list[Future[None]] = []

    @property
    def is_begun(self) -> bool:
        """Whether a chunk has been begun whose result was not asked for yet."""
        return self._chunk is not None

    def begin(self) -> None:
        """Begin the next chunk once ``make`` has returned from the one before."""
        assert self._chunk is None, "a chunk has been begun already"
        self._chunk = Future()
        assert self._thread is not None, "the pipeline is closed"
        self._jobs = [job for job in self._jobs if not job.done()]
        self._jobs.append(self._thread.submit(self._run, self._chunk))

    def result(self) -> LatentChunk:
        """Wait for the chunk that was begun; raises what ``make`` raised for it or, late, the one before."""
        assert self._chunk is not None, "no chunk has been begun"
        chunk, self._chunk = self._chunk, None
        return chunk.result()

    def close(self) -> None:
        """Wait until ``make`` has returned; no more chunks can be begun."""
        for job in self._jobs:
            job.cancel()
        wait(self._jobs)
        if self._thread is not None:
            _idle.append(self._thread)
            self._thread = None

    def _run(self, chunk: "Future[LatentChunk]") -> None:
        try:
            self._make(chunk.set_result)
        except BaseException as error:
            self._fail(chunk, error)

    def _fail(self, chunk: "Future[LatentChunk]", error: BaseException) -> None:
        """Report a failure by the chunk, or by the next one if the chunk has been passed on already."""
        if not chunk.done():
            chunk.set_exception(error)
            return

        def raise_again(_: OnLatents) -> None:
            raise error

        self._make = raise_again


class SequentialPipeline:
    """Pipeline without a thread: a chunk is made when its result is asked for."""

    is_begun = False

    def __init__(self, make: Callable[[OnLatents], object]) -> None:
        """``make`` is as for Pipeline."""
        self._make = make

    def begin(self) -> None:
        """Do nothing: no chunk is made ahead."""

    def result(self) -> LatentChunk:
        """Make the next chunk."""
        made: list[LatentChunk] = []
        self._make(made.append)
        return made[0]

    def close(self) -> None:
        """Do nothing: there is no thread."""
