"""Who may use the model, and when: it seats the viewers, keeps their stories, and lets none be lost.

engine = Engine(ThreadCarrier(Studio(models)))
run = engine.start("viewer", "a red ball stands on a green meadow", seed=7)
run.prompt("the red ball jumps")        # from another thread, while reports are read
run.next_report()                       # a Shot, a Notice, at last Finished; None if there is none yet

A run waits in line, plays while a carrier makes it, rests while its viewer is away, and ends. What was made
lies on disk, so a run goes on after its worker, its connection or this process was lost.
"""

import contextvars
import heapq
import logging
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from longlive.config import ResumeMode
from longlive.errors import BusyError, LongLiveError
from longlive.generation.storyboard import Scene
from longlive.media.segments import Container
from longlive.prompts import check_prompt
from longlive.serving.events import QueuePosition, RunFinished
from longlive.serving.executors.events import NoticeEvent
from longlive.serving.executors.executor import Executor
from longlive.serving.limits import Limits, span
from longlive.serving.metrics import Metrics
from longlive.serving.run import Run, State, key_of
from longlive.serving.run_store import claim_folder, stored_runs
from longlive.serving.status import EngineStatus
from longlive.serving.supervisor import RunSupervisor

logger = logging.getLogger(__name__)

TICK_S = 0.1
LINE_WORD_S = 5.0
_FORGOTTEN = "Your story has rested too long and is no longer kept. Press Start for a new one."


class Engine:
    """The owner of all runs: it admits them, watches their limits, and forgets those whose time is over.

    Attributes:
        carrier, limits, folder: as they were given.
        metrics: what is counted.
        when_forgotten: is told of each run that is no longer kept; must be quick.
    """

    def __init__(
        self,
        carrier: Executor,
        *,
        limits: Limits | None = None,
        folder: Path | None = None,
        stories_bytes: float = 20e9,
        resume: ResumeMode = "auto",
    ) -> None:
        """Serve what ``carrier`` makes; the runs that lie in ``folder`` can be taken up again.

        Args:
            carrier: makes the videos.
            limits: how far and how long runs may go.
            folder: where stories are kept; None: in a temporary one, until the engine is closed.
            stories_bytes: of the stories that rest or have ended, the oldest go when all take more.
            resume: how stories go on after an interruption; ``auto``: exactly, unless they are long.

        Raises:
            ConfigError: if another engine works in the folder.
        """
        self.carrier, self.limits = carrier, limits or Limits()
        self.folder = folder or Path(tempfile.mkdtemp(prefix="longlive-"))
        self._is_temporary = folder is None
        self._stories_bytes = stories_bytes
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock_file = claim_folder(self.folder)
        self.metrics = Metrics()
        self._carrying = RunSupervisor(carrier, self.metrics, resume)
        self.when_forgotten: Callable[[Run], None] = lambda run: None
        self._changed = threading.Condition()
        self._runs: list[Run] = self._found()
        self._is_closed = self._is_warming = False
        self._watch_figures()
        self._watch = threading.Thread(target=self._keep_watch, name="longlive-watch", daemon=True)
        self._watch.start()

    def warm_up(self) -> None:
        """Let the carrier do one-off work, so that the first viewer does not wait for it."""
        self._is_warming = True
        self.carrier.warm_up()
        self._is_warming = False

    def start(
        self,
        viewer: str,
        prompt: str,
        *,
        seed: int,
        script: Sequence[Scene] = (),
        container: Container = "mp4",
        limits: Limits | None = None,
        address: str = "",
    ) -> Run:
        """Start a viewer's run; one that the viewer had before ends, unkept.

        Args:
            viewer: whose run it is.
            prompt: what it begins with.
            seed: of the noise.
            script: the scenes to come.
            container: form of the segments.
            limits: instead of the engine's.
            address: where the viewer is; only so many runs of one address are let in.

        Raises:
            PromptError: if a prompt cannot be used.
            BusyError: if the line is full, or the address has enough runs.
            MediaError: if the disk is full.
        """
        for text in (prompt, *(scene.text for scene in script)):
            check_prompt(text)
        with self._changed:
            before = [run for run in self._runs if run.viewer == viewer and not run.is_leaving]
            self._check_room(address, before)
            folder = self.folder / secrets.token_hex(16)
            model = self.carrier.config
            run = Run(viewer, folder, model, limits or self.limits, seed=seed, metrics=self.metrics)
            run.address = address
            try:
                run.ask(prompt, script, container)
            except LongLiveError:
                run.forget()
                raise
            for old in before:
                old.stop("A new story was started.", keep=False)
            self._runs.append(run)
            self.metrics.started()
            run.journal.started(seed, prompt, self.carrier.name)
            self._changed.notify_all()
        return run

    def claim(self, viewer: str, token: str) -> Run | None:
        """The run with this token, which is the viewer's from now on; None if there is none."""
        with self._changed:
            run = self.find(token)
            if run is None:
                return None
            run.viewer, run.token = viewer, token
            run.context = contextvars.copy_context()
            run.touch()
            self._wake(run)
            return run

    def find(self, token: str) -> Run | None:
        """The run with this token."""
        key = key_of(token)
        return next((run for run in list(self._runs) if run.has_key(key)), None)

    @property
    def num_runs(self) -> int:
        """How many runs go on, wait or rest."""
        return sum(run.state != "ended" for run in self._runs)

    def knows(self, run: Run) -> bool:
        """Whether a run is still kept."""
        return run in self._runs

    def count(self, state: str) -> int:
        """How many runs are in a state."""
        return sum(run.state == state for run in self._runs)

    def house(self) -> EngineStatus:
        """How the house stands; whoever asks waits for nobody."""
        room = self.carrier.room()
        return EngineStatus(
            sessions=self.count("playing"),
            waiting=len(self._line()),
            parked=self.count("resting"),
            room=room,
            fps=self.metrics.fps,
            carrier=self.carrier.name,
            model=self.carrier.config.name,
            is_ready=not self._is_warming,
            is_alive=self._watch.is_alive() and (room > 0 or self._is_warming),
        )

    def run_of(self, viewer: str) -> Run | None:
        """The viewer's run, if one is going on, waiting or resting."""
        with self._changed:
            return next((run for run in self._runs if run.viewer == viewer and not run.is_leaving), None)

    def playhead(self, token: str, seconds: float, playing: bool, *, stalls: int = 0) -> bool:
        """Pass a player's word to the run whose token it knows; whether there is one that goes on.

        ``stalls`` is how often its picture stood still so far.
        """
        with self._changed:
            run = self.find(token)
            if run is None or run.state == "ended":
                return False
            self._wake(run)
        run.playhead(seconds, playing)
        run.stalled(stalls)
        return True

    def close(self) -> None:
        """End every run; in a folder of its own the engine leaves them to the next one, else all files go."""
        with self._changed:
            self._is_closed = True
            for run in self._runs:
                if run.state == "playing":
                    run.rest()
        deadline = time.monotonic() + 10
        while self.count("playing") and time.monotonic() < deadline:
            time.sleep(0.02)
        with self._changed:
            self._changed.notify_all()
        self._watch.join(5)
        self.carrier.close()
        self._lock_file.close()
        if self._is_temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def place_of(self, run: Run) -> int:
        """The run's place in line, 1 for the next one; 0 if it does not wait."""
        line = self._line()
        return line.index(run) + 1 if run in line else 0

    def wait_of(self, place: int) -> float:
        """Seconds until whoever has this place in line gets in, at most."""
        now = time.monotonic()
        playing = [run for run in self._runs if run.state == "playing"]
        left = [max(0.0, self._left_s(run, now, is_shared=True)) for run in playing]
        room = self.carrier.room()
        ends = [0.0] * (room - len(left)) + sorted(left)[max(0, len(left) - room) :]
        heapq.heapify(ends)
        wait = 0.0
        for _ in range(place if ends else 0):
            wait = heapq.heappop(ends)
            heapq.heappush(ends, wait + self.limits.shared_s)
        return wait

    def _found(self) -> list[Run]:
        """The runs that another engine left in the folder."""
        found = []
        for spool in stored_runs(self.folder):
            if spool.is_over:
                shutil.rmtree(spool.folder, ignore_errors=True)
                continue
            try:
                found.append(Run.found(spool, self.carrier.config, self.limits, self.metrics))
            except (KeyError, TypeError, ValueError):
                logger.warning("%s holds no run that can be understood", spool.folder.name)
        if found:
            logger.info("stories that lie here from before, and rest: %d", len(found))
        return found

    def _watch_figures(self) -> None:
        self.metrics.watch("sessions", lambda: self.count("playing"))
        self.metrics.watch("queue", lambda: len(self._line()))
        self.metrics.watch("parked", lambda: self.count("resting"))
        self.metrics.watch("room", self.carrier.room)
        self.metrics.watch("spool_bytes", lambda: sum(run.num_bytes for run in self._runs))

    def _check_room(self, address: str, before: Sequence[Run]) -> None:
        waiting = [run for run in self._line() if run not in before]
        if len(waiting) >= self.limits.line:
            raise BusyError(f"{len(waiting)} stories wait already. Please come back in a few minutes.")
        others = [run for run in self._runs if run.state in ("waiting", "playing") and not run.is_leaving]
        same = [run for run in others if address and run.address == address and run not in before]
        if len(same) >= self.limits.per_address:
            raise BusyError(
                f"{len(same)} stories are told to your address already, and no more are let in. "
                "Please end one of them first."
            )

    def _line(self) -> list[Run]:
        waiting = [run for run in self._runs if run.state == "waiting" and not run.is_leaving]
        return sorted(waiting, key=lambda run: run.arrived)

    def _wake(self, run: Run) -> None:
        """Somebody is back: a run that rests goes to its place in line, which is that of its arrival."""
        run.is_back = True
        if run.state == "resting":
            self._set(run, "waiting")
            run.say(NoticeEvent("Welcome back. Your story goes on as soon as there is room."))

    def _set(self, run: Run, state: State) -> None:
        if state == "resting":
            run.break_words = "its viewer was away"
            run.journal.rests(run.limits.grace_s)
        elif state == "playing" and run.told[0]:
            run.journal.seated(time.monotonic() - run.changed)
            run.told = 0, 0.0
        run.state, run.changed = state, time.monotonic()
        self._changed.notify_all()

    def _keep_watch(self) -> None:
        while True:
            with self._changed:
                self._changed.wait(TICK_S)
                if self._is_closed:
                    return
                try:
                    self._tick(time.monotonic())
                except Exception:
                    logger.exception("the watch stumbled")

    def _tick(self, now: float) -> None:
        for run in list(self._runs):
            if run.state == "playing":
                self._check_limits(run, now)
            elif run.state == "ended" or (run.state == "resting" and not run.stopping):
                over = now - run.changed > run.limits.grace_s or (run.stopping and not run.stopping.keep)
                if over:
                    self._forget(run)
            elif run.state == "waiting" and run.alone_s > run.limits.idle_s:
                self._set(run, "resting")
        self._make_way(now)
        self._admit()
        self._tell_line(now)
        self._tidy()

    def _check_limits(self, run: Run, now: float) -> None:
        limits = run.limits
        seated_s = now - run.changed
        if run.stopping or run.is_to_rest:
            return
        if min(run.alone_s, seated_s) > limits.away_s:
            run.rest()
        elif run.has_player and min(run.silent_s, seated_s) > limits.idle_s:
            run.say(
                NoticeEvent("Your player has been silent, so the story rests; it goes on when you are back.")
            )
            run.rest()
        elif not run.has_player and run.played_s + seated_s > limits.unwatched_s:
            self._stop_at_limit(run, f"No player has spoken for {limits.unwatched_s:.0f} s.")
        elif (left := self._left_s(run, now, is_shared=False)) <= 0:
            self._stop_at_limit(run, f"This take has reached the longest time, {span(limits.longest_s)}.")
        elif left < limits.warning_s < limits.longest_s and not run.is_warned:
            run.is_warned = True
            run.say(
                NoticeEvent(
                    f"Your story reaches its longest time in {left:.0f} s. Press Stop to keep it now."
                )
            )

    def _stop_at_limit(self, run: Run, reason: str) -> None:
        run.is_over_limit = True
        run.stop(reason)

    def _left_s(self, run: Run, now: float, *, is_shared: bool) -> float:
        """Seconds that a playing run may go on, alone or while others wait."""
        played = run.played_s + (now - run.changed if run.state == "playing" else 0.0)
        longest = run.limits.longest_s
        return (min(longest, run.limits.shared_s) if is_shared else longest) - played

    def _make_way(self, now: float) -> None:
        """While others wait, those who have had their time are warned, then make way, the longest first."""
        playing = [run for run in self._runs if run.state == "playing"]
        leaving = sum(run.is_leaving or run.is_to_rest for run in playing)
        needed = len(self._line()) - leaving - max(0, self.carrier.room() - len(playing))
        staying = [run for run in playing if not run.is_leaving and not run.is_to_rest]
        staying.sort(key=lambda run: self._left_s(run, now, is_shared=True))
        for run in staying[: max(0, needed)]:
            left = self._left_s(run, now, is_shared=True)
            if left <= 0:
                self._stop_at_limit(run, "Others wait, and your story has had its time. Its film is below.")
            elif left < run.limits.warning_s and not run.is_warned:
                run.is_warned = True
                run.say(
                    NoticeEvent(f"Others wait: your story ends in {left:.0f} s, and its film will be yours.")
                )

    def _admit(self) -> None:
        """Let runs in while there is room; those that are to end need none."""
        free = self.carrier.room() - self.count("playing")
        line = self._line()
        leaving = [run for run in self._runs if run.stopping and run.state in ("waiting", "resting")]
        for run in [*leaving, *line[: max(0, free)]]:
            run.is_to_rest = run.is_back = False
            self._set(run, "playing")
            work = threading.Thread(
                target=run.context.copy().run, args=(self._work, run), name="longlive-run", daemon=True
            )
            work.start()

    def _tell_line(self, now: float) -> None:
        for place, run in enumerate(self._line(), 1):
            if place != run.told[0] or now - run.told[1] > LINE_WORD_S:
                run.told = place, now
                run.say(QueuePosition(place, self.wait_of(place)))

    def _tidy(self) -> None:
        """Keep to the bytes that stories may take."""
        idle = sorted(
            (run for run in self._runs if run.state in ("ended", "resting")), key=lambda run: run.changed
        )
        over = sum(run.num_bytes for run in self._runs) - self._stories_bytes
        for run in idle:
            if over <= 0:
                return
            over -= run.num_bytes
            self._forget(run)

    def _forget(self, run: Run) -> None:
        """Let go of a run; whoever follows it still is told."""
        self._runs.remove(run)
        if run.state != "ended":
            self.metrics.ended("left")
            run.journal.ended("left", run.end_s, "nobody came back for it")
            run.say(RunFinished(_FORGOTTEN))
            run.state = "ended"
        run.forget()
        self.when_forgotten(run)

    def _work(self, run: Run) -> None:
        """What a run's thread does: have it carried, and see what comes next."""
        state = self._carrying.go(run)
        with self._changed:
            if state == "resting" and run.is_back:
                state = "waiting"
            run.is_to_rest = False
            self._set(run, state)
