"""Two things at once: the next chunk is denoised while the one before is decoded and encoded.

On a GPU, decoding goes to a stream of its own, and encoding is the host's work; on a CPU, each takes a core.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from longlive.chunks import LatentChunk

OnLatents = Callable[[LatentChunk], None]
"""Is given a chunk as soon as it is clean, before the pass that remembers it."""


class Pipeline:
    """Makes chunks ahead, one at a time, in a thread of its own."""

    def __init__(self, make: Callable[[OnLatents], object]) -> None:
        """``make`` makes the next chunk, and hands it over once."""
        self._make = make
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="longlive-ahead")
        self._chunk: Future[LatentChunk] | None = None
        self._job: Future[None] | None = None

    @property
    def is_begun(self) -> bool:
        """Whether a chunk has been begun that was not taken yet."""
        return self._chunk is not None

    def begin(self) -> None:
        """Begin the next chunk, as soon as the one before is remembered."""
        assert self._chunk is None, "a chunk has been begun already"
        self._chunk = Future()
        self._job = self._thread.submit(self._run, self._chunk)

    def take(self) -> LatentChunk:
        """Wait for the chunk that was begun; raises what ``make`` raised, or had left to raise."""
        assert self._chunk is not None, "no chunk has been begun"
        chunk, self._chunk = self._chunk, None
        return chunk.result()

    def close(self) -> None:
        """Wait until nothing is made any more."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _run(self, chunk: "Future[LatentChunk]") -> None:
        try:
            self._make(chunk.set_result)
        except BaseException as error:
            self._fail(chunk, error)

    def _fail(self, chunk: "Future[LatentChunk]", error: BaseException) -> None:
        """A failure after the hand-over is told when the next chunk is asked for."""
        if not chunk.done():
            chunk.set_exception(error)
            return

        def raise_again(_: OnLatents) -> None:
            raise error

        self._make = raise_again


class InTurn:
    """The plain twin of Pipeline: a chunk is made when it is taken."""

    is_begun = False

    def __init__(self, make: Callable[[OnLatents], object]) -> None:
        """As Pipeline."""
        self._make = make

    def begin(self) -> None:
        """Nothing is made ahead."""

    def take(self) -> LatentChunk:
        """Make the next chunk."""
        made: list[LatentChunk] = []
        self._make(made.append)
        return made[0]

    def close(self) -> None:
        """Nothing goes on."""
