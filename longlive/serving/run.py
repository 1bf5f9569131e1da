"""One viewer's story: what was asked, what was made, where the viewer is; one carrier at a time makes it."""

import bisect
import contextvars
import hashlib
import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from longlive.chunks import MediaSegment, SwitchMode
from longlive.config import ModelConfig
from longlive.errors import LongLiveError, MediaError, PromptError
from longlive.generation.storyboard import Scene
from longlive.media.segments import Container
from longlive.prompts import check_prompt
from longlive.serving.events import PromptScheduled, RunEvent, RunFinished
from longlive.serving.executors.events import NoticeEvent, SegmentEvent
from longlive.serving.executors.executor import StreamHandle
from longlive.serving.executors.job import Job
from longlive.serving.executors.messages import Playhead, Prompt, Stop, add_prompt
from longlive.serving.executors.playback_clock import PlaybackClock
from longlive.serving.limits import Limits
from longlive.serving.metrics import Metrics
from longlive.serving.run_logger import RunLogger
from longlive.serving.run_store import RunStore
from longlive.serving.viewer_metrics import RateLimiter, ViewerMetrics

KEPT_REPORTS = 64
_CHUNKS = range(1, 2**20)  # of a story that nobody sees the end of

State = Literal["waiting", "playing", "resting", "ended"]


class Run:
    """A story that one viewer follows: prompts and the playhead go in, words and pictures come out.

    Attributes:
        viewer: who may have only one.
        token: the secret by which its player speaks, and by which it is taken up again; empty for a run that
            was found on disk, until somebody names it.
        name: short, and safe to show and log.
        state: ``waiting`` in line, ``playing``, ``resting`` until its viewer comes back, or ``ended``.
        arrived, began, changed: when it came, first played, and took its state, in seconds of
            ``time.monotonic``.
        played_s: that it was carried before ``changed``.
        stopping: the stop that was asked for.
        is_to_rest: it is to let go of the model, until its viewer is back.
        is_back: its viewer came back since.
        is_warned: its viewer knows that it is to end soon.
        told: the place in line that the viewer knows, and since when.
        tries: carriages that were lost since it made its last chunk.
        context: what belongs to the viewer's request; ZeroGPU's quota goes by it.
        num_dropped: words that the viewer did not fetch in time.
        is_over_limit: it was stopped by a limit.
        break_words: why it does not go on without a break, in words.
        metrics: where what happens to it is counted.
    """

    def __init__(
        self,
        viewer: str,
        folder: Path,
        model: ModelConfig,
        limits: Limits,
        *,
        seed: int,
        metrics: Metrics | None = None,
    ) -> None:
        """Made by the engine, which calls ``ask`` next."""
        self.viewer, self.limits, self.seed = viewer, limits, seed
        self.metrics = metrics or Metrics()
        self.token = secrets.token_urlsafe(16)
        self.key = key_of(self.token)
        self.container: Container = "mp4"
        self.address = ""
        self.folder = folder
        self.state: State = "waiting"
        self.arrived = self.changed = time.monotonic()
        self.began: float | None = None
        self.played_s = 0.0
        self.stopping: Stop | None = None
        self.is_to_rest = self.is_back = False
        self.is_warned = self.is_over_limit = False
        self.break_words = ""
        self.told: tuple[int, float] = (0, 0.0)
        self.tries = 0
        self.context = contextvars.copy_context()
        self._model = model
        self._clock = PlaybackClock()
        self._carriage: StreamHandle | None = None
        self._spool: RunStore | None = None
        self._plan: list[Prompt] = []
        self._segments: list[MediaSegment] = []
        self._num_chunks, self._end_s, self._end_frame = 0, 0.0, 0
        self._words: deque[RunEvent] = deque()
        self.num_dropped = 0
        self._fetched = time.monotonic()
        self._pace = RateLimiter(limits.prompts_per_minute)
        self._watching = ViewerMetrics(self.metrics, limits.queue)
        self._lock = threading.RLock()

    @classmethod
    def found(cls, spool: RunStore, model: ModelConfig, limits: Limits, metrics: Metrics) -> "Run":
        """A run that lies on disk, as another process left it; it rests.

        Raises:
            KeyError, TypeError, ValueError: if its facts are not those of a run.
        """
        run = cls("", spool.folder, model, limits, seed=int(spool.facts["seed"]), metrics=metrics)
        run.break_words = "it lay here from before"
        run.token, run.key = "", str(spool.facts["key"])
        run.container = "ts" if spool.facts["container"] == "ts" else "mp4"
        run._plan = [prompt for prompt in spool.planned if prompt.chunk >= spool.num_chunks]
        run.state, run._spool, run._num_chunks = "resting", spool, spool.num_chunks
        run._end_frame = spool.num_frames
        run._end_s = run._end_frame / model.fps
        run._clock.place(run._end_s, False)
        return run

    @property
    def name(self) -> str:
        """Short, and safe to show and log."""
        return self.key[:8]

    @property
    def journal(self) -> RunLogger:
        """Its lines in the log."""
        return RunLogger(self.name)

    @property
    def num_chunks(self) -> int:
        """Chunks made."""
        return self._num_chunks

    @property
    def waiting(self) -> list[Prompt]:
        """The prompts to come; the one that a story begins with is not among them."""
        return [prompt for prompt in self._plan if not self._begins(prompt)]

    @property
    def num_bytes(self) -> int:
        """What it takes on disk."""
        return self._spool.num_bytes if self._spool else 0

    @property
    def end_s(self) -> float:
        """Seconds of video made."""
        return self._end_s

    @property
    def has_player(self) -> bool:
        """Whether a player has spoken for it."""
        return self._clock.heard_at is not None

    @property
    def silent_s(self) -> float:
        """Seconds since its player spoke; before that, since it was there."""
        return time.monotonic() - (self._clock.heard_at or self.arrived)

    @property
    def alone_s(self) -> float:
        """Seconds since anybody asked for its words, or its player spoke."""
        return time.monotonic() - max(self._fetched, self._clock.heard_at or 0.0)

    @property
    def is_leaving(self) -> bool:
        """Whether it has been told to end, or has."""
        return self.stopping is not None or self.state == "ended"

    def has_key(self, key: str) -> bool:
        """Whether this is the key of the run's token."""
        return secrets.compare_digest(self.key, key)

    def ask(self, prompt: str, script: Sequence[Scene], container: Container) -> None:
        """What it is to tell; it is on disk from here on.

        Raises:
            PromptError: if a prompt cannot be used.
            MediaError: if the disk is full.
        """
        self.container = container
        self._plan = [Prompt(check_prompt(prompt))]
        for scene in script:
            chunk = bisect.bisect_left(_CHUNKS, scene.at, key=self.start_of) + 1
            scripted = Prompt(check_prompt(scene.text), scene.switch or "soft", chunk, scripted=True)
            self._plan = add_prompt(self._plan, scripted)
        facts = {"key": self.key, "seed": self.seed, "container": container}
        try:
            self.folder.mkdir(mode=0o700)
            self._spool = RunStore(self.folder, facts)
            self._spool.plan(self._plan)
        except (OSError, MediaError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise MediaError(f"No story can be kept here now ({why}). Please try again later.") from error

    def touch(self) -> None:
        """Somebody is there for it."""
        self._fetched = time.monotonic()

    def next_report(self) -> RunEvent | None:
        """The next word in order, or None if there is none yet; whoever asks follows the run."""
        self.touch()
        try:
            return self._words.popleft()
        except IndexError:
            return None

    def say(self, word: RunEvent) -> None:
        """Tell the viewer; of a viewer who does not listen, the oldest pictures are dropped."""
        with self._lock:
            self._words.append(word)
            if len(self._words) > KEPT_REPORTS and not isinstance(word, RunFinished):
                self._words.popleft()
                self.num_dropped += 1
                self.metrics.dropped()

    def prompt(self, text: str, switch: SwitchMode = "soft") -> PromptScheduled:
        """Go on with another prompt, each in its turn.

        Raises:
            PromptError: if it cannot be used, or too many wait already, or came in the last minute.
        """
        try:
            promise = self._promise(check_prompt(text), switch)
        except PromptError:
            self.metrics.refused()
            raise
        self.metrics.prompted(switch)
        self.journal.turned(switch, promise.chunk, text)
        return promise

    def _promise(self, text: str, switch: SwitchMode) -> PromptScheduled:
        with self._lock:
            self._pace.check()
            own = [prompt for prompt in self.waiting if not prompt.scripted]
            if len(own) >= self.limits.queue:
                raise PromptError(
                    f"{len(own)} prompts wait already. Please let the story reach the next one first."
                )
            self._pace.count()
            soonest = own[-1].chunk + 1 if own else max(1, self._num_chunks)
            prompt = self._post(Prompt(text, switch, soonest))
            at = self.start_of(prompt.chunk)
            self._watching.asked(at)
            return PromptScheduled(prompt.chunk, at, self.seconds_until(at))

    def playhead(self, seconds: float, playing: bool) -> None:
        """Take the player's word of what is on the screen."""
        self._clock.hear(playhead := Playhead(seconds, playing))
        with self._lock:
            self._watching.sees(seconds, self.began)
            if self._carriage is not None:
                self._carriage.post(playhead)

    def stop(self, reason: str, *, keep: bool = True) -> None:
        """Ask the run to end at the next chunk; ``keep`` what was made, or drop it."""
        with self._lock:
            self.stopping = Stop(reason, keep)
            if self._carriage is not None:
                self._carriage.post(self.stopping)

    def rest(self) -> None:
        """Let go of the model at the next chunk, until the viewer is back."""
        with self._lock:
            self.is_to_rest, self.is_back = True, False
            if self._carriage is not None:
                self._carriage.post(Stop("The story rests."))

    def close(self) -> None:
        """Nobody wants it any more: end, and keep nothing."""
        self.stop("The page was closed.", keep=False)
        while self.next_report():
            pass

    def forget(self) -> None:
        """Remove its files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def board(self, *, exact: bool) -> Job:
        """What a carrier is to make next; SessionFileError if what was made cannot be read."""
        assert self._spool is not None
        with self._lock:
            past = self._spool.past(exact=exact)
            self._segments.clear()
            playhead = Playhead(self._clock.seconds(self._end_s), True) if past else None
            return Job(
                name=self.name,
                seed=self.seed,
                prompts=tuple(self._plan),
                limits=self.limits,
                container=self.container,
                past=past,
                playhead=playhead,
            )

    def carried_by(self, carriage: StreamHandle | None) -> None:
        """Who makes it from now on; what was asked meanwhile is passed on."""
        with self._lock:
            self._carriage = carriage
            if carriage is None:
                return
            for message in (self.stopping, Stop("The story rests.") if self.is_to_rest else None):
                if message is not None:
                    carriage.post(message)

    def take(self, shot: SegmentEvent) -> None:
        """Keep one more segment, and show it; one that was shown before is not shown again."""
        segment = shot.segment
        end = segment.first_frame + segment.num_frames
        self._clock.assume_playing()
        self.metrics.made(segment.num_frames, shot.chunk_ms / 1000 if segment.ends_chunk else None)
        with self._lock:
            self._segments.append(segment)
            if segment.ends_chunk:
                self._num_chunks = segment.index + 1
                self._end_s = end / segment.fps
                self._plan = [prompt for prompt in self._plan if prompt.chunk > segment.index]
                self._keep(shot)
        if end > self._end_frame:
            self._end_frame = end
            self.say(replace(shot, kept=None))

    def segments(self) -> Iterator[MediaSegment]:
        """The segments that are kept, from the first."""
        return self._spool.segments() if self._spool and self._num_chunks else iter(())

    def files(self) -> tuple[Path | None, Path | None, str]:
        """The film and the session file, as far as they can be written, and in words what cannot."""
        if self._spool is None or not self._num_chunks:
            return None, None, ""
        spool, trouble = self._spool, []

        def written(write: Callable[[Path], Path], name: str) -> Path | None:
            try:
                return write(self.folder / name)
            except (LongLiveError, OSError) as error:
                trouble.append(str(error))
                return None

        session_file = written(spool.write_session, "longlive.json")
        take = written(spool.write_take, "longlive.mp4") if spool.is_whole else None
        return take, session_file, f"But not all can be kept: {' '.join(trouble)}" if trouble else ""

    def finish(self) -> None:
        """Note on disk that it is over: another process does not take it up again."""
        self._spooled(lambda spool: spool.end())

    def start_of(self, chunk: int) -> float:
        """The second of the take at which a chunk will begin, as far as is known: a hard cut shortens one."""
        if not self._num_chunks:
            return self._model.num_frames(chunk * self._model.chunk) / self._model.fps
        return self._end_s + (chunk - self._num_chunks) * self._model.chunk_seconds()

    def seconds_until(self, second: float) -> float:
        """How long the viewer waits for a second of the take."""
        return max(0.0, second - self._clock.seconds(self._end_s))

    def delay(self) -> float:
        """How long a viewer who sends a prompt now waits to see it."""
        carriage = self._carriage
        return self.seconds_until(self.start_of((carriage.begun if carriage else self._num_chunks - 1) + 1))

    def stalled(self, times: int) -> None:
        """Take the player's word of how often its picture stood still so far; a new player begins at 0."""
        self._watching.stalled(times)

    def _begins(self, prompt: Prompt) -> bool:
        """Whether a story that has not begun begins with this prompt."""
        return not self._num_chunks and prompt.chunk == 0

    def _post(self, prompt: Prompt) -> Prompt:
        if self._carriage is not None:
            posted = self._carriage.post(prompt)
            assert isinstance(posted, Prompt), posted
            prompt = posted
        begins = [one for one in self._plan if self._begins(one)]
        self._plan = [*begins, *add_prompt(self.waiting, prompt)]
        if self._spool is not None:
            self._spooled(lambda spool: spool.plan(self._plan))
        return prompt

    def _keep(self, shot: SegmentEvent) -> None:
        segments, self._segments = self._segments, []
        kept = shot.kept
        if kept is not None:
            self._spooled(lambda spool: spool.add(segments, kept))

    def _spooled(self, write: Callable[[RunStore], None]) -> None:
        assert self._spool is not None
        try:
            write(self._spool)
        except MediaError as error:
            self.metrics.failed("disk")
            self.journal.failed("disk", self._num_chunks, str(error))
            self.say(NoticeEvent(f"The story goes on, but its film cannot be kept: {error}."))


def key_of(token: str) -> str:
    """What of a token may lie on disk, and is compared: its digest."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
