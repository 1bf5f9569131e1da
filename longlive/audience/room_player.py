"""The one viewer of a room's runs: plays them in real time, rests, and goes from one run to the next."""

import dataclasses
import logging
import math
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from longlive.config import ModelConfig
from longlive.errors import LongLiveError, MediaError
from longlive.generation.start_clip import read_start
from longlive.media.mp4 import Mp4Writer
from longlive.serving.engine import Engine
from longlive.serving.limits import Limits
from longlive.serving.runs.run import Run
from longlive.serving.scheduler import RunStatus

logger = logging.getLogger(__name__)

FOREVER_S = 1e9
BUFFER_AHEAD_S = 3.0
"""Seconds of video that are ready beyond what is shown; in this time the next run must begin."""
RETRY_S = 10.0
"""After a run has failed, or could not be started, the next one is tried after so long."""
MAX_SEED = 2**31


def room_limits(limits: Limits) -> Limits:
    """The limits of a room's runs: none of those of viewers ends them, or forgets them while they rest."""
    return dataclasses.replace(
        limits,
        buffer_ahead_s=BUFFER_AHEAD_S,
        retention_s=math.inf,
        max_duration_s=FOREVER_S,
        contended_duration_s=FOREVER_S,
        max_queue_size=1_000_000,
    )


class RoomPlayer:
    """Plays one run after another, without an end.

    Attributes:
        run: what is shown now.
        previous: what was shown before that.

    Not safe to use from several threads. ``tick`` is to be called a few times a second.
    """

    def __init__(
        self, engine: Engine, length_s: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Nothing plays; ``length_s`` is the length of one run, and ``clock`` gives seconds."""
        self._engine, self._length_s, self._clock = engine, length_s, clock
        # Clients choose the names of their sessions, which have no colon and are not told this one.
        self._viewer, self._num_runs = f"room:{secrets.token_hex(16)}", 0
        self._limits = room_limits(engine.limits)
        self._next: Run | None = None
        self._change_at_s, self._retry_at = 0.0, 0.0
        self._begins_with_pictures = True
        self.run: Run
        self.previous: Run | None = None

    @property
    def newest(self) -> Run:
        """The run that prompts go to."""
        return self._next or self.run

    @property
    def position(self) -> float:
        """The second of the run that is shown."""
        return self.run.presence.clock.position(self.run.end_s)

    def begin(self, prompt: str) -> None:
        """Play a new run; errors as for ``Engine.start``."""
        self._next = None
        self.run = self._start(prompt)

    def claim(self, token: str, position: float) -> bool:
        """Play a run that another process has left, from a second on; False if there is none."""
        run = self._engine.find(token)
        if run is None or run.status is RunStatus.FINISHED:
            return False
        run.limits = self._limits
        run.presence.clock.seek(min(run.end_s, max(position, run.end_s - BUFFER_AHEAD_S)), False)
        self._num_runs += 1
        self._engine.claim(f"{self._viewer}:{self._num_runs}", token)
        self.run = run
        return True

    def tick(self, prompt: str, *, is_wanted: bool) -> None:
        """Play, or rest where nobody wants to see it; ``prompt`` is what the next run begins with."""
        if self._next is not None:
            self._change_over(prompt)
        elif self._is_over(self.run):
            self._begin_again(prompt)
        elif not is_wanted:
            self._rest()
        else:
            self._play()
            if self.run.end_s >= self._length_s and self.run.store.num_chunks and self._may_retry():
                self._begin_next(prompt)

    def _rest(self) -> None:
        """Stand still and hold no slot."""
        self.run.playhead(self.position, False)
        _let_go(self.run)

    def _play(self) -> None:
        """Report the playhead where the clock has it; a run that rests goes on."""
        run, position = self.run, self.position
        run.presence.follow()
        if run.status is RunStatus.SUSPENDED:
            self._engine.playhead(run.token, position, True)
        else:
            run.playhead(position, True)

    def _begin_next(self, prompt: str) -> None:
        """Start the run that follows, from the last pictures that were made; the present one is made no more.

        It keeps the place of the present one in the queue, so that nobody comes between them.
        """
        run, config = self.run, self._engine.models[self.run.model].config
        try:
            pictures, self._change_at_s = last_pictures(run, config)
            self._next = self._start(prompt, pictures if self._begins_with_pictures else None)
        except LongLiveError as error:
            logger.warning("the room's next run cannot begin, so the present one goes on: %s", error)
            self._retry_at = self._clock() + RETRY_S
            return
        _let_go(run)

    def _change_over(self, prompt: str) -> None:
        """Show the next run, once the present one has come to where that one begins."""
        run, following = self.run, self._next
        assert following is not None
        if self._is_over(following):
            self._begin_without_pictures(prompt)
            return
        _let_go(run)  # it may have waited for a slot, and have got one
        run.presence.follow()
        run.playhead(self.position, True)
        following.presence.follow()
        following.playhead(0.0, False)
        if following.end_s > 0 and self.position >= min(self._change_at_s, run.end_s):
            following.playhead(0.0, True)
            self.run, self._next, self.previous = following, None, run
            run.limits = self._engine.limits
            run.stop("max_duration")

    def _begin_without_pictures(self, prompt: str) -> None:
        """The next run could not begin with the pictures of this one: some models have no encoder."""
        if not self._may_retry():
            return
        self._retry_at = self._clock() + RETRY_S
        self._begins_with_pictures = False
        self.newest.limits = self._engine.limits
        try:
            self._next = self._start(prompt)
        except LongLiveError as error:
            logger.warning("the room's next run cannot begin: %s", error)

    def _begin_again(self, prompt: str) -> None:
        """The run has failed, or is gone."""
        if not self._may_retry():
            return
        self._retry_at = self._clock() + RETRY_S
        self.run.limits = self._engine.limits
        try:
            self.begin(prompt)
        except LongLiveError as error:
            logger.warning("the room cannot go on: %s", error)

    def _start(self, prompt: str, pictures: np.ndarray | None = None) -> Run:
        self._num_runs += 1
        before = getattr(self, "run", None)
        return self._engine.start(
            f"{self._viewer}:{self._num_runs}",
            prompt,
            seed=secrets.randbelow(MAX_SEED),
            limits=self._limits,
            start=pictures,
            model=before.model if before else None,
            arrived=before.lifecycle.arrived if before else None,
        )

    def _is_over(self, run: Run) -> bool:
        return run.status is RunStatus.FINISHED or not self._engine.exists(run)

    def _may_retry(self) -> bool:
        return self._clock() >= self._retry_at


def _let_go(run: Run) -> None:
    """Have a run that is made let go of the model."""
    if run.status is RunStatus.RUNNING and not run.lifecycle.is_suspending:
        run.suspend()


def last_pictures(run: Run, config: ModelConfig) -> tuple[np.ndarray, float]:
    """The last pictures of what is stored of a run, as many as fill the first chunk of another one.

    Returns:
        the pictures, uint8 (N, H, W, 3), and the second of the video at which they begin.

    Raises:
        MediaError: if they cannot be read.
    """
    wanted, num_chunks = config.num_frames(config.chunk), run.store.num_chunks
    chunks = range(max(0, num_chunks - 2), num_chunks)
    with tempfile.TemporaryDirectory(prefix="longlive-") as folder:
        path = Path(folder, "end.mp4")
        video = Mp4Writer(path)
        try:
            segments = [one for chunk in chunks for one in run.store.chunk(chunk)]
            for segment in segments:
                video.append(segment)
            video.close()
            pictures = read_start(path, config)[-wanted:]
        except OSError as error:
            raise MediaError(f"the last pictures cannot be read: {error}") from error
        finally:
            video.discard()
    last = segments[-1]
    return pictures, (last.first_frame + last.num_frames - len(pictures)) / config.fps
