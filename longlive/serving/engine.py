"""The owner of all runs: it starts, branches, claims and closes them, and loses none.

engine = Engine(ThreadExecutor(ModelRunner(models)))    # or ServedModels, of which a run has one
run = engine.start("viewer", "a red ball stands on a green meadow", seed=7)
run.prompt("the red ball jumps")        # from another thread, while events are read
run.events.since(cursor, timeout=1.0)   # SegmentEvent, NoticeEvent, QueuePosition, at last RunFinished

A run waits in the queue, runs while an executor makes it, is suspended while its viewer is away, and ends.
What was made lies on disk, so a run goes on after its worker, its connection or this process was lost.
"""

import contextvars
import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from longlive.chunks import SwitchMode
from longlive.config import ModelConfig, ResumeMode, Size
from longlive.errors import BusyError
from longlive.generation.session_file import SessionRecord
from longlive.generation.storyboard import Scene
from longlive.media.segments import Container
from longlive.serving.dispatcher import Dispatcher
from longlive.serving.executors.events import NoticeEvent
from longlive.serving.executors.executor import Executor
from longlive.serving.limits import Limits
from longlive.serving.metrics import Metrics
from longlive.serving.observer import Observer, Started
from longlive.serving.runs.creation import branch_run, create_run, replay_run
from longlive.serving.runs.recording import check_record
from longlive.serving.runs.run import Run
from longlive.serving.runs.run_registry import RunRegistry
from longlive.serving.runs.store.store_folder import StoreFolder
from longlive.serving.scheduler import RunStatus
from longlive.serving.served_models import ServedModels
from longlive.serving.status import EngineStatus
from longlive.serving.supervisor import RunSupervisor

Create = Callable[[str, Path, ModelConfig, Limits, Observer], Run]
"""Makes a run of a viewer in a folder."""


class Engine:
    """Keeps the runs and their tokens, and drives the scheduler.

    Attributes:
        models: the executors by the name of their model.
        limits, folder: as they were given.
        runs: all that are kept.
        metrics: what is counted.
    """

    def __init__(
        self,
        models: ServedModels | Executor,
        *,
        limits: Limits | None = None,
        folder: Path | StoreFolder | None = None,
        max_store_bytes: float = 20e9,
        resume: ResumeMode = "auto",
    ) -> None:
        """Serve what ``models`` make; the runs that lie in ``folder`` can be resumed.

        Args:
            models: make the videos; a single executor is the only model.
            limits: how far and how long runs may go.
            folder: where runs are stored; None: in a temporary one, until the engine is closed.
            max_store_bytes: of the runs that are suspended or finished, the oldest go when all take more.
            resume: how runs go on after an interruption; ``auto``: exactly, unless they are long.

        Raises:
            ConfigError: if another engine works in the folder.
        """
        self.models = models if isinstance(models, ServedModels) else ServedModels([models])
        self.limits = limits or Limits()
        self._store = folder if isinstance(folder, StoreFolder) else StoreFolder(folder)
        self.folder = self._store.path
        self.metrics = Metrics()
        self._observer = Observer(self.metrics)
        self.runs = RunRegistry()
        configs = {name: executor.config for name, executor in self.models.items()}
        self.runs.load(self.folder, configs, self.limits, self._observer)
        supervisor = RunSupervisor(self.models, resume)
        self._dispatcher = Dispatcher(self.runs, self.models, supervisor, max_store_bytes)
        self._changed = self._dispatcher.changed
        self._is_warming_up = False
        _export_gauges(self.metrics, self.runs, self._dispatcher.capacity)
        self._dispatcher.start()

    @property
    def executor(self) -> Executor:
        """That of the default model."""
        return self.models.default

    def on_forget(self, forget: Callable[[Run], None]) -> None:
        """Have ``forget`` called with each run that is no longer kept; it must be quick."""
        self._dispatcher.on_forget = forget

    def warm_up(self) -> None:
        """Let the executors do one-off work, so that the first viewer does not wait for it."""
        self._is_warming_up = True
        self.models.warm_up()
        self._is_warming_up = False

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
        start: np.ndarray | None = None,
        model: str | None = None,
        size: Size | None = None,
        arrived: float | None = None,
    ) -> Run:
        """Start a viewer's run; one that the viewer had before ends, as if the viewer had stopped it.

        Args:
            viewer: whose run it is.
            prompt: what the video begins with.
            seed: of the noise.
            script: prompts to come.
            container, limits: format of the segments; limits instead of the engine's.
            address: of the viewer; only so many runs of one address are let in.
            start: pictures that the video begins with, uint8 (N, H, W, 3), as ``read_start`` gives them.
            model, size: name of the model, and one of its sizes; None for the first, and for its own.
            arrived: its place in the queue is that of a run that was started then (``time.monotonic``).

        Raises:
            PromptError: if a prompt cannot be used.
            ConfigError: if there is no such model, or it does not have this size.
            BusyError: if the queue is full, or the address has enough runs.
            MediaError: if the disk is full.
        """
        create = partial(create_run, seed=seed, prompt=prompt, script=script, container=container)
        create = partial(create, start=start, arrived=arrived)
        config = self.models.find(model).config.at(size)
        return self._begin(create, viewer, config, limits or self.limits, address, len(prompt))

    def branch(
        self,
        viewer: str,
        parent: Run,
        chunk: int,
        *,
        prompt: str = "",
        switch: SwitchMode = "soft",
        seed: int | None = None,
        length: int | None = None,
        address: str = "",
    ) -> Run:
        """Start a viewer's run that goes on after the first ``chunk`` chunks of another one, which stays.

        Arguments and errors as for ``start`` and ``branch_run``; the viewer's run before ends as at a start.
        """
        create = partial(
            branch_run, parent=parent, chunk=chunk, prompt=prompt, switch=switch, seed=seed, length=length
        )
        config = self.models[parent.model].config.at(parent.size)
        return self._begin(create, viewer, config, self.limits, address, len(prompt))

    def replay(
        self,
        viewer: str,
        record: SessionRecord,
        *,
        container: Container = "mp4",
        limits: Limits | None = None,
        address: str = "",
        parent: Run | None = None,
    ) -> Run:
        """Start a viewer's run that makes a recorded video again, compares it, and goes on after it.

        Arguments and errors as for ``start``, ``replay_run`` and ``check_record``.
        """
        executor = self.models.of_record(record.model, record.model_digest)
        config = check_record(record, executor.config, executor.describe())
        create = partial(replay_run, record=record, container=container, parent=parent)
        length = len(record.prompts[0].text)
        return self._begin(create, viewer, config, limits or self.limits, address, length)

    def _begin(
        self, create: Create, viewer: str, model: ModelConfig, limits: Limits, address: str, length: int
    ) -> Run:
        """Keep a new run in place of the viewer's other one; ``length`` of its prompt, for the log."""
        with self._changed:
            self.runs.check_busy(address, self.runs.of_viewer(viewer), limits)
        # Without the lock, as it may copy for a while.
        run = create(viewer, self.folder / secrets.token_hex(16), model, limits, self._observer)
        with self._changed:
            previous = self.runs.of_viewer(viewer)
            try:
                self.runs.check_busy(address, previous, limits)
            except BusyError:
                run.delete()
                raise
            run.address = address
            for old in previous:
                old.stop("replaced")
            self.runs.add(run)
            for take in self.runs.surplus_takes(run, self.limits.max_takes):
                self._dispatcher.forget(take)
            run.record(Started(run.seed, length, self.models[run.model].name, run.model))
            self._dispatcher.tick()
        return run

    def forget(self, token: str) -> bool:
        """Remove the run with this token, and its files; False if there is none.

        Raises:
            BusyError: if it is being made, or waits for that.
        """
        with self._changed:
            run = self.find(token)
            if run is None:
                return False
            if run.status in (RunStatus.RUNNING, RunStatus.WAITING):
                raise BusyError("This video is still being made. Please stop it first.")
            self._dispatcher.forget(run)
            return True

    def claim(self, viewer: str, token: str) -> Run | None:
        """The run with this token, which is the viewer's from now on; None if there is none."""
        with self._changed:
            run = self.find(token)
            if run is None:
                return None
            for take in self.runs.takes_of(run):
                take.viewer = viewer
            run.viewer, run.token = viewer, token
            run.context = contextvars.copy_context()
            run.presence.follow()
            self._mark_returned(run)
            return run

    def find(self, token: str) -> Run | None:
        """The run with this token."""
        return self.runs.find(token)

    def exists(self, run: Run) -> bool:
        """Whether a run is still kept."""
        return run in self.runs

    def status(self) -> EngineStatus:
        """The state of the engine in numbers; takes no lock."""
        is_served = any(self.models.capacity().slots.values())
        return EngineStatus(
            running=self.runs.count(RunStatus.RUNNING),
            waiting=self.runs.queue_length(),
            suspended=self.runs.count(RunStatus.SUSPENDED),
            capacity=self._dispatcher.capacity(),
            fps=self.metrics.fps,
            executor=self.executor.name,
            model=self.executor.config.name,
            models=tuple(self.models),
            sizes={name: executor.config.all_sizes for name, executor in self.models.items()},
            is_ready=not self._is_warming_up,
            is_alive=self._dispatcher.is_alive and (is_served or self._is_warming_up),
        )

    def playhead(
        self, token: str, seconds: float, playing: bool, *, stalls: int = 0, round_trip_s: float = 0.0
    ) -> bool:
        """Pass a player's report to the run with this token; False if there is none that goes on.

        ``stalls`` is how often the player has stalled so far, ``round_trip_s`` how many seconds passed until
        it had the answer to its last report; 0 if it does not say.
        """
        with self._changed:
            run = self.find(token)
            if run is None or run.status is RunStatus.FINISHED:
                return False
            self._mark_returned(run)
            self.keep_takes(run)
        run.playhead(seconds, playing, stalls=stalls, round_trip_s=round_trip_s)
        return True

    def keep_takes(self, run: Run) -> None:
        """Keep the takes of a run for as long as if they had ended now."""
        with self._changed:
            for take in self.runs.takes_of(run):
                take.lifecycle.changed = time.monotonic()

    def close(self) -> bool:
        """Suspend every run. They stay for the next engine in a folder that is kept; finished ones go.

        Returns:
            whether all let go of the model in time; else threads still compute.
        """
        has_let_go = self._dispatcher.close()
        self.models.close()
        for run in self.runs:
            if run.status is RunStatus.FINISHED:  # no other engine could resume it
                run.delete()
        self._store.close()
        return has_let_go

    def _mark_returned(self, run: Run) -> None:
        """The viewer is back: a suspended run waits again, at the position of its arrival."""
        run.lifecycle.has_returned = True
        if run.status is RunStatus.SUSPENDED:
            run.emit(NoticeEvent("welcome_back"))
            self._dispatcher.tick()


def _export_gauges(metrics: Metrics, runs: RunRegistry, capacity: Callable[[], int]) -> None:
    metrics.watch("sessions", lambda: runs.count(RunStatus.RUNNING))
    metrics.watch("queue_length", runs.queue_length)
    metrics.watch("suspended", lambda: runs.count(RunStatus.SUSPENDED))
    metrics.watch("capacity", capacity)
    metrics.watch("store_bytes", runs.num_bytes)
