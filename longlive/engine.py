"""Who may use the model, and when: one producer at a time, one run per viewer, nothing left behind.

engine = Engine(models)
run = engine.start("viewer", "a red ball stands on a green meadow", seed=7)
run.prompt("the red ball jumps")        # from another thread, while reports are read
run.next_report()                       # a Shot, a Notice, at last Finished; None if there is none yet
"""

import contextlib
import heapq
import itertools
import queue
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longlive.chunks import SwitchMode
from longlive.errors import BusyError, PromptError
from longlive.house import House
from longlive.mailbox import MemoryMailbox, Playhead, Prompt, Stop, add_prompt
from longlive.metrics import Metrics
from longlive.producer import Clock, Limits, Producer, Report, Shot, Source
from longlive.segments import Container
from longlive.session import Session
from longlive.storyboard import Scene
from longlive.text import check_prompt

OUTPUT_REPORTS = 8
LONGEST_LINE = 16


@dataclass(frozen=True)
class Promise:
    """When a prompt will be seen: from which chunk on, at which second of the take, in how many seconds."""

    chunk: int
    at_seconds: float
    in_seconds: float


class Turns:
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


class Run:
    """One viewer's run, as the page sees it: prompts and the playhead go in, reports come out."""

    def __init__(self, engine: "Engine", viewer: str, folder: Path) -> None:
        """Made by ``Engine.start``."""
        self.viewer = viewer
        self.token = secrets.token_urlsafe(16)
        self.folder = folder
        self.mailbox = MemoryMailbox()
        self.waiting: list[Prompt] = []
        self.is_leaving = False
        self._engine = engine
        self._clock = Clock()
        self._num_chunks, self._end_s = 0, 0.0
        self._output: queue.Queue[Report] = queue.Queue(OUTPUT_REPORTS)
        self._is_read, self._has_ended = True, False
        self._lock = threading.Lock()

    def is_called(self, token: str) -> bool:
        """Whether this is the token of the run, whatever a stranger may have sent."""
        return secrets.compare_digest(self.token.encode(), token.encode(errors="replace"))

    def next_report(self) -> Report | None:
        """The next report in order, or None if there is none yet."""
        try:
            return self._output.get_nowait()
        except queue.Empty:
            return None

    def prompt(self, text: str, switch: SwitchMode = "soft") -> Promise:
        """Go on with another prompt, each in its turn.

        Raises:
            PromptError: if it cannot be used, or too many wait already.
        """
        text = check_prompt(text)
        with self._lock:
            own = [prompt for prompt in self.waiting if not prompt.scripted]
            if len(own) >= self._engine.limits.queue:
                raise PromptError(
                    f"{len(own)} prompts wait already. Please let the story reach the next one first."
                )
            return self._post(Prompt(text, switch, own[-1].chunk + 1 if own else 0))

    def script(self, scenes: Sequence[Scene]) -> None:
        """Plan prompts for given seconds of the take; they give way to the viewer's own."""
        with self._lock:
            for scene in scenes:
                chunk = next(chunk for chunk in itertools.count() if self.start_of(chunk) >= scene.at)
                self._post(Prompt(check_prompt(scene.text), scene.switch or "soft", chunk, scripted=True))

    def playhead(self, seconds: float, playing: bool) -> None:
        """Take the player's word of what is on the screen."""
        self._clock.hear(playhead := Playhead(seconds, playing))
        self.mailbox.post(playhead)

    def stop(self, reason: str, *, keep: bool = True) -> None:
        """Ask the run to end at the next chunk; ``keep`` what was made, or drop it."""
        self.is_leaving = True
        self.mailbox.post(Stop(reason, keep))

    def close(self) -> None:
        """Nobody reads any more: end, and remove the files."""
        self._is_read = False
        self.stop("The page was closed.", keep=False)
        while self.next_report():
            pass
        if self._has_ended:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start_of(self, chunk: int) -> float:
        """The second of the take at which a chunk will begin, as far as is known: a hard cut shortens one."""
        model = self._engine.models.config
        if not self._num_chunks:
            return model.num_frames(chunk * model.chunk) / model.fps
        return self._end_s + (chunk - self._num_chunks) * model.chunk_seconds()

    def seconds_until(self, second: float) -> float:
        """How long the viewer waits for a second of the take."""
        return max(0.0, second - self._clock.seconds(self._end_s))

    def delay(self) -> float:
        """How long a viewer who sends a prompt now waits to see it."""
        return self.seconds_until(self.start_of(self.mailbox.begun + 1))

    def produce(self, producer: Producer) -> None:
        """What the run's thread does: hand on every report, then leave."""
        for report in producer.reports():
            if isinstance(report, Shot):
                self._note(report)
            self._deliver(report)
        self._has_ended = True
        if not self._is_read:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _note(self, shot: Shot) -> None:
        segment = shot.segment
        self._clock.assume_playing()
        with self._lock:
            if segment.ends_chunk:
                self._num_chunks = segment.index + 1
                self._end_s = (segment.first_frame + segment.num_frames) / segment.fps
            self.waiting = [prompt for prompt in self.waiting if prompt.chunk > segment.index]

    def _deliver(self, report: Report) -> None:
        while self._is_read:
            with contextlib.suppress(queue.Full):
                self._output.put(report, timeout=0.25)
                return

    def _post(self, prompt: Prompt) -> Promise:
        posted = self.mailbox.post(prompt)
        assert isinstance(posted, Prompt), posted
        self.waiting = add_prompt(self.waiting, posted)
        at = self.start_of(posted.chunk)
        return Promise(posted.chunk, at, self.seconds_until(at))


class _Seat:
    """A run's place in the engine's line, and its turns."""

    def __init__(self, engine: "Engine", run: Run) -> None:
        self._engine, self._run = engine, run

    def place(self) -> int:
        return self._engine.place_of(self._run)

    def turn(self, deadline: float) -> AbstractContextManager[None]:
        return self._engine.turn(deadline)

    def relieve(self, session: Source | None) -> bool:
        used = self._engine.models if session is None else session.models
        smaller = self._engine.smaller_than(used)
        if smaller is not None and session is not None:
            session.models = smaller
        return smaller is not None


class Engine:
    """The owner of the model: it seats the viewers, gives them turns, and forgets those who left."""

    def __init__(
        self,
        models: Any,
        *,
        open_session: Callable[..., Source] = Session,
        limits: Limits | None = None,
        overlap: bool | None = None,
    ) -> None:
        """Serve ``models``.

        Args:
            models: a ModelBundle.
            open_session: called with the models, a prompt and ``seed=`` for each run.
            limits: how far and how long runs may go.
            overlap: decode and encode while the next chunk is made; None: on a GPU.
        """
        self.models = models
        self._overlap = models.device.type == "cuda" if overlap is None else overlap
        self.limits = limits or Limits()
        self._open_session = open_session
        self._turns = Turns()
        self._lock, self._shrinking = threading.Lock(), threading.Lock()
        self._line: list[Run] = []
        self._chunk_s: float | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="longlive-"))
        self.metrics = Metrics()

    def warm_up(self) -> None:
        """Make a chunk that nobody sees, so that the first viewer does not wait for one-off work."""
        with self.turn(time.monotonic()):
            session = self._open_session(self.models, "a warm-up", seed=0)
            session.next_chunk()
            session.close()

    def start(
        self,
        viewer: str,
        prompt: str,
        *,
        seed: int,
        script: Sequence[Scene] = (),
        container: Container = "mp4",
        limits: Limits | None = None,
    ) -> Run:
        """Start a viewer's run; one that the viewer had before ends, unkept.

        Args:
            viewer: whose run it is.
            prompt: what it begins with.
            seed: of the noise.
            script: the scenes to come.
            container: form of the segments.
            limits: instead of the engine's.

        Raises:
            PromptError: if a prompt cannot be used.
            BusyError: if the line is full.
        """
        text, *_ = [check_prompt(text) for text in (prompt, *(scene.text for scene in script))]
        run = self._line_up(viewer, script)
        producer = Producer(
            lambda: self._open_session(self.models, text, seed=seed),
            self.models.config,
            run.mailbox,
            _Seat(self, run),
            folder=run.folder,
            container=container,
            encoder=self.models.encoder,
            limits=limits or self.limits,
            overlap=self._overlap,
        )
        threading.Thread(target=self._work, args=(run, producer), name="longlive-run", daemon=True).start()
        return run

    def _line_up(self, viewer: str, script: Sequence[Scene]) -> Run:
        """A run at the end of the line, in the place of the viewer's old one."""
        with self._lock:
            before = [run for run in self._line if run.viewer == viewer and not run.is_leaving]
            if len(self._line) - len(before) >= LONGEST_LINE:
                raise BusyError(f"{len(self._line)} stories wait already. Please come back in a few minutes.")
            run = Run(self, viewer, Path(tempfile.mkdtemp(dir=self.folder)))
            run.script(script)
            for old in before:
                old.stop("A new story was started.", keep=False)
            self._line.append(run)
        return run

    @property
    def num_runs(self) -> int:
        """How many runs go on or wait."""
        return len(self._line)

    def house(self) -> House:
        """How the house stands now."""
        with self._lock:
            num_runs, room = len(self._line), self._room()
        facts = self.models.config
        frames = facts.chunk_seconds() * facts.fps
        return House(
            sessions=min(num_runs, room),
            waiting=max(0, num_runs - room),
            room=room,
            carrier="thread",
            model=facts.name,
            fps=frames / self._chunk_s if self._chunk_s else 0.0,
        )

    def run_of(self, viewer: str) -> Run | None:
        """The viewer's run, if one is going on or waiting."""
        with self._lock:
            return next((run for run in self._line if run.viewer == viewer and not run.is_leaving), None)

    def playhead(self, token: str, seconds: float, playing: bool) -> bool:
        """Pass a player's word to the run whose token it knows; whether there is one."""
        with self._lock:
            run = next((run for run in self._line if run.is_called(token)), None)
        if run is not None:
            run.playhead(seconds, playing)
        return run is not None

    def close(self) -> None:
        """End every run and remove all files."""
        with self._lock:
            runs = list(self._line)
        for run in runs:
            run.close()
        deadline = time.monotonic() + 10
        while self._line and time.monotonic() < deadline:
            time.sleep(0.02)
        shutil.rmtree(self.folder, ignore_errors=True)

    def place_of(self, run: Run) -> int:
        """How many runs must end before this one may begin."""
        with self._lock:
            line = [other for other in self._line if not other.is_leaving or other is run]
            return max(0, line.index(run) + 1 - self._room())

    @contextmanager
    def turn(self, deadline: float) -> Iterator[None]:
        """The model, for one chunk."""
        with self._turns.turn(deadline):
            begun = time.monotonic()
            yield
            took = time.monotonic() - begun
        self._chunk_s = took if self._chunk_s is None else 0.8 * self._chunk_s + 0.2 * took

    def smaller_than(self, models: Any) -> Any:
        """The model in a smaller way than ``models``, with which the memory ran out; None if there is none.

        The first who asks brings it about. New runs begin with it; others go on as they were.
        """
        with self._shrinking:
            if self.models is models and models.smaller is not None:
                self.models = models.smaller(models)
            return None if self.models is models else self.models

    def _room(self) -> int:
        """How many runs the model can feed in real time, with a fifth to spare, and has memory for."""
        if self._chunk_s is None:
            return 1
        return int(
            min(
                self.models.streams,
                max(1.0, 0.8 * self.models.config.chunk_seconds() / max(self._chunk_s, 1e-3)),
            )
        )

    def _work(self, run: Run, producer: Producer) -> None:
        try:
            run.produce(producer)
        finally:
            with self._lock:
                self._line.remove(run)
