"""Where stories are made: the model, turns at it by the nearest deadline, and how many it can feed."""

import heapq
import itertools
import math
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from longlive.config import EncoderName, ModelConfig
from longlive.generation.session import Session
from longlive.media.segments import SegmentEncoder
from longlive.serving.executors.job import Job
from longlive.serving.executors.stream_worker import Source

WARM_CHUNKS = 6
MEASURED_CHUNKS = 32
PATIENT_S = 1.0
"""Somebody who goes on after an interruption lets those first who would run dry within so long."""
BUSY_SHARE = 0.95
"""Of the time, that turns at the model may take together: a late turn must find room to catch up."""

Turn = Callable[[], AbstractContextManager[None]]
Opener = Callable[[Any, Job, Turn], Source]


def open_session(models: Any, order: Job, turn: Turn) -> Session:
    """The session that makes an order, or goes on with its past in turns."""
    past = order.past
    if past is not None and past.latents:
        return Session.resume(models, past.record, past.latents, exact=past.exact, turn=turn)
    return Session(models, order.prompts[0].text, seed=order.seed)


class DeadlineLock:
    """The model's turnstile: one at a time, whoever would run dry first goes first."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._changed = threading.Condition()
        self._waiting: list[tuple[float, int]] = []
        self._numbers = itertools.count()
        self._busy = False

    @contextmanager
    def turn(self, deadline: float) -> Iterator[None]:
        """Wait for the model and hold it; ``deadline`` is in seconds of ``time.monotonic``."""
        ticket = (deadline, next(self._numbers))
        with self._changed:
            heapq.heappush(self._waiting, ticket)
            self._changed.wait_for(lambda: not self._busy and self._waiting[0] == ticket)
            heapq.heappop(self._waiting)
            self._busy = True
        try:
            yield
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()


class ModelRunner:
    """The owner of a loaded model: it opens sessions, gives turns, measures them, and shrinks if it must."""

    def __init__(
        self, models: Any, *, open_session: Opener = open_session, overlap: bool | None = None
    ) -> None:
        """Work with ``models``.

        Args:
            models: a ModelBundle.
            open_session: makes the session of an order.
            overlap: decode and encode while the next chunk is made; None: on a GPU.
        """
        self.models = models
        self.config: ModelConfig = models.config
        self.encoder: EncoderName = models.runtime.encoder
        self.overlap = models.device.type == "cuda" if overlap is None else overlap
        self._open_session = open_session
        self._turns = DeadlineLock()
        self._shrinking = threading.Lock()
        self._turn_s: deque[float] = deque(maxlen=MEASURED_CHUNKS)
        self._rest_s: deque[float] = deque(maxlen=MEASURED_CHUNKS)
        self._alone_s = math.inf

    def open(self, order: Job) -> Source:
        """As in Workplace."""
        return self._open_session(self.models, order, lambda: self._turns.turn(time.monotonic() + PATIENT_S))

    @contextmanager
    def turn(self, deadline: float) -> Iterator[None]:
        """As in Workplace."""
        with self._turns.turn(deadline):
            begun = time.monotonic()
            yield
            self._turn_s.append(time.monotonic() - begun)

    def spent(self, seconds: float) -> None:
        """As in Workplace."""
        self._rest_s.append(seconds)

    def relieve(self, session: Source | None) -> bool:
        """As in Workplace; the first who asks brings the smaller way about, new sessions begin with it."""
        used = self.models if session is None else session.models
        with self._shrinking:
            if self.models is used and used.runtime.downgrade is not None:
                self.models = used.runtime.downgrade(used)
                self._alone_s = math.inf
            if self.models is used:
                return False
        if session is not None:
            session.models = self.models
        return True

    def warm_up(self, order: Job) -> None:
        """Make and encode chunks that nobody sees: one-off work is done then, and the speed is known."""
        encoder = SegmentEncoder(scale=self.config.display_scale, encoder=self.encoder)
        session = self.open(order)
        with self.turn(time.monotonic()):
            encoder.encode(session.next_chunk())
        self._turn_s.clear()
        for _ in range(WARM_CHUNKS):
            with self.turn(time.monotonic()):
                latents = session.next_latents()
            begun = time.monotonic()
            encoder.encode(session.decode(latents))
            self.spent(time.monotonic() - begun)
        session.close()
        self._alone_s = _undisturbed(self._turn_s) + _undisturbed(self._rest_s)

    def room(self) -> int:
        """How many viewers it can feed in real time at its measured speed, and has memory for; at least 1.

        No more than a single stream's speed, end to end, is worth, as it was where it was least disturbed;
        and turns at the model, as they are under the present load, must not fill the time.
        """
        turns, rests = tuple(self._turn_s), tuple(self._rest_s)
        if not turns or not rests:
            return 1
        chunk_s = self.config.chunk_seconds()
        by_speed = chunk_s / min(self._alone_s, _undisturbed(turns) + _undisturbed(rests))
        by_turns = BUSY_SHARE * chunk_s / statistics.median(turns)
        return max(1, int(min(self.models.runtime.max_streams, by_speed, by_turns)))


def _undisturbed(seconds: Collection[float]) -> float:
    """What is taken where nothing else goes on: the lower quarter."""
    return max(sorted(seconds)[len(seconds) // 4], 1e-4)
