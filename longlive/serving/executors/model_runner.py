"""The owner of a loaded model: sessions, turns by the nearest deadline, and how many runs it can feed."""

import heapq
import itertools
import math
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from longlive.config import EncoderName, ModelConfig, Size
from longlive.generation.session import Session
from longlive.media.segments import SegmentEncoder
from longlive.prompts import recorded_prompt
from longlive.serving.executors.job import Job
from longlive.serving.rendering.idle_judge import Judge
from longlive.storybook.judge import judge_of

WARM_UP_CHUNKS = 6
MEASURED_CHUNKS = 32
RESUME_DEADLINE_S = 1.0
"""A pass that restores a run lets those go first who would run dry within so long."""
MAX_UTILIZATION = 0.95
"""Of the time, that turns at the model may take together: a late turn must be able to catch up."""

Turn = Callable[[], AbstractContextManager[None]]
SessionOpener = Callable[[Any, Job, Turn], Session]


def open_session(models: Any, job: Job, turn: Turn) -> Session:
    """The session that makes a job, or goes on with what was made, one ``turn`` per pass."""
    state = job.resume
    if state is not None and state.latents:
        return Session.resume(models, state.record, state.latents, exact=state.exact, turn=turn)
    if job.record is not None:
        return Session.of_record(models, job.record)
    with turn() if job.start is not None else nullcontext():
        prompt = recorded_prompt(job.prompts[0].text)
        return Session(models.at_size(job.size), prompt, seed=job.seed, start=job.start)


class DeadlineLock:
    """A lock that goes to whoever has the earliest deadline."""

    def __init__(self) -> None:
        """A free lock."""
        self._changed = threading.Condition()
        self._waiting: list[tuple[float, int]] = []
        self._numbers = itertools.count()
        self._held = False

    @property
    def is_held(self) -> bool:
        """Whether anybody holds it."""
        return self._held

    @contextmanager
    def hold(self, deadline: float) -> Iterator[None]:
        """Wait for the lock and hold it; ``deadline`` is in seconds of ``time.monotonic``."""
        ticket = (deadline, next(self._numbers))
        with self._changed:
            heapq.heappush(self._waiting, ticket)
            self._changed.wait_for(lambda: not self._held and self._waiting[0] == ticket)
            heapq.heappop(self._waiting)
            self._held = True
        try:
            yield
        finally:
            with self._changed:
                self._held = False
                self._changed.notify_all()


class ModelRunner:
    """Opens sessions of a model, gives turns at it, measures them, and lowers its memory use if it must.

    Attributes:
        models: a ModelBundle; replaced when the memory runs out.
        config: of the model.
        encoder: of the H.264 segments.
        overlap: whether to decode and encode while the next chunk is made.
    """

    def __init__(
        self,
        models: Any,
        *,
        open_session: SessionOpener = open_session,
        overlap: bool | None = None,
        judge: Judge | None = None,
        lock: DeadlineLock | None = None,
    ) -> None:
        """Run ``models``.

        Args:
            models: a ModelBundle.
            open_session: makes the session of a job.
            overlap: decode and encode while the next chunk is made; None: on a GPU.
            judge: of its pictures; None for the model's own, if it has one.
            lock: held during each turn; shared by models on one device.
        """
        self.models = models
        self.config: ModelConfig = models.config
        self.encoder: EncoderName = models.runtime.encoder
        self._judge = judge
        self.overlap = models.device.type == "cuda" if overlap is None else overlap
        self._open_session = open_session
        self._lock = lock or DeadlineLock()
        self._downgrading = threading.Lock()
        self._turn_s: deque[float] = deque(maxlen=MEASURED_CHUNKS)
        self._render_s: deque[float] = deque(maxlen=MEASURED_CHUNKS)
        self._unloaded_s = math.inf

    @property
    def is_busy(self) -> bool:
        """Whether anybody has a turn at the model."""
        return self._lock.is_held

    def judge_for(self, size: Size | None) -> Judge | None:
        """What judges the model's pictures of a size; None where nothing does."""
        return self._judge or judge_of(self.config.at(size))

    def open(self, job: Job) -> Session:
        """A session that makes a job, or goes on with what was made, at turns of its own."""
        return self._open_session(
            self.models, job, lambda: self._lock.hold(time.monotonic() + RESUME_DEADLINE_S)
        )

    @contextmanager
    def turn(self, deadline: float) -> Iterator[None]:
        """The model for one chunk; the earliest ``deadline`` (``time.monotonic``) gets it first."""
        with self._lock.hold(deadline):
            started = time.monotonic()
            yield
            self._turn_s.append(time.monotonic() - started)

    def record_render_time(self, seconds: float) -> None:
        """Note what decoding and encoding a chunk took, beside its turn."""
        self._render_s.append(seconds)

    def downgrade(self, session: Session | None) -> bool:
        """Let a session, or the next one, go on with less memory; False if that was tried or cannot be.

        The first caller switches to the smaller models; sessions that are opened later start with them.
        """
        used = (self.models if session is None else session.models).runtime
        with self._downgrading:
            if self.models.runtime == used and used.downgrade is not None:
                self.models = used.downgrade(self.models)
                self._unloaded_s = math.inf
            if self.models.runtime == used:
                return False
        if session is not None:
            session.models = self.models
        return True

    def warm_up(self, job: Job) -> None:
        """Make and encode chunks that nobody sees: one-off work is done then, and the speed is known."""
        encoder = SegmentEncoder(scale=self.config.live_scale, encoder=self.encoder)
        session = self.open(job)
        with self.turn(time.monotonic()):
            encoder.encode(session.next_chunk())
        self._turn_s.clear()
        for _ in range(WARM_UP_CHUNKS):
            with self.turn(time.monotonic()):
                latents = session.next_latents()
            started = time.monotonic()
            encoder.encode(session.decode(latents))
            self.record_render_time(time.monotonic() - started)
        session.close()
        self._unloaded_s = _lower_quartile(self._turn_s) + _lower_quartile(self._render_s)

    def capacity(self) -> int:
        """How many runs it can feed in real time, and has memory for; at least 1.

        No more than the speed of a single stream allows, end to end, as it was where it was least disturbed;
        and turns at the model, as they are under the present load, must not fill the time.
        """
        turns, renders = tuple(self._turn_s), tuple(self._render_s)
        if not turns or not renders:
            return 1
        chunk_s = self.config.chunk_seconds()
        by_speed = chunk_s / min(self._unloaded_s, _lower_quartile(turns) + _lower_quartile(renders))
        by_turns = MAX_UTILIZATION * chunk_s / statistics.median(turns)
        return max(1, int(min(self.models.runtime.max_streams, by_speed, by_turns)))


def _lower_quartile(seconds: Collection[float]) -> float:
    """What something takes where nothing else goes on."""
    return max(sorted(seconds)[len(seconds) // 4], 1e-4)
