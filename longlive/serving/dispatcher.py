"""Does what the scheduler decides: admits, suspends, stops and forgets runs, and keeps their status."""

import logging
import threading
import time
from collections.abc import Callable

from longlive.serving import scheduler
from longlive.serving.executors.events import NoticeEvent
from longlive.serving.observer import Admitted, Ended, Suspended
from longlive.serving.runs.events import QueuePosition, RunFinished
from longlive.serving.runs.run import Run, view_of
from longlive.serving.runs.run_registry import RunRegistry
from longlive.serving.scheduler import Action, RunStatus
from longlive.serving.served_models import ServedModels
from longlive.serving.supervisor import RunSupervisor

logger = logging.getLogger(__name__)

TICK_S = 0.1
CLOSE_TIMEOUT_S = 10.0


class Dispatcher:
    """The only one that changes the status of a run; asks the scheduler ten times a second.

    Attributes:
        changed: held while runs or their status change; notified when they have.
        on_forget: called with each run that is no longer kept; must be quick.
    """

    def __init__(
        self, runs: RunRegistry, models: ServedModels, supervisor: RunSupervisor, max_store_bytes: float
    ) -> None:
        """Dispatch ``runs`` to the executors of their ``models``; see Engine for ``max_store_bytes``."""
        self.changed = threading.Condition(threading.RLock())
        self.on_forget: Callable[[Run], None] = lambda run: None
        self._runs, self._models, self._supervisor = runs, models, supervisor
        self._max_store_bytes = max_store_bytes
        self._is_closed = False
        self._thread = threading.Thread(target=self._loop, name="longlive-scheduler", daemon=True)

    def start(self) -> None:
        """Begin to ask the scheduler."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the scheduler is asked."""
        return self._thread.is_alive()

    def close(self) -> bool:
        """Suspend every run that is made, and do nothing more.

        Returns:
            whether all let go of the model in time; else threads still compute.
        """
        with self.changed:
            self._is_closed = True
            for run in self._runs:
                if run.status is RunStatus.RUNNING:
                    self.suspend(run, scheduler.Suspend(run.key, "shutdown"))
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        with self.changed:
            self.changed.notify_all()
            while self._runs.count(RunStatus.RUNNING) and (left := deadline - time.monotonic()) > 0:
                self.changed.wait(left)
        self._thread.join(5)
        return not self._runs.count(RunStatus.RUNNING)

    def capacity(self) -> int:
        """How many runs can be made at once, of the models that are in use."""
        running = [run.model for run in self._runs if run.status is RunStatus.RUNNING]
        return self._models.capacity().at_once(running)

    def tick(self) -> None:
        """Ask the scheduler what to do, and do it."""
        if self._is_closed:
            return
        views = [view_of(run) for run in self._runs]
        capacity, now = self._models.capacity(), time.monotonic()
        for action in scheduler.schedule(views, capacity, now, max_store_bytes=self._max_store_bytes):
            self._apply(self._runs[action.key], action)

    def _loop(self) -> None:
        while True:
            with self.changed:
                self.changed.wait(TICK_S)
                if self._is_closed:
                    return
                try:
                    self.tick()
                except Exception:
                    logger.exception("scheduler tick failed")

    def _apply(self, run: Run, action: Action) -> None:
        life = run.lifecycle
        match action:
            case scheduler.Admit():
                self._admit(run)
            case scheduler.Enqueue():
                self._set_status(run, RunStatus.WAITING)
            case scheduler.Park():
                life.has_returned = False
                run.record(Suspended("viewer_away", run.limits.retention_s))
                self._set_status(run, RunStatus.SUSPENDED)
            case scheduler.Suspend():
                self.suspend(run, action)
            case scheduler.Stop(reason=reason):
                run.stop(reason)
            case scheduler.Warn(code=code, seconds=seconds):
                life.is_warned = True
                run.emit(NoticeEvent(code, seconds))
            case scheduler.UpdatePosition(position=position, wait_s=wait_s):
                life.queue_position, life.queue_updated = position, time.monotonic()
                run.emit(QueuePosition(position, wait_s))
            case scheduler.Evict():
                self.forget(run)

    def _admit(self, run: Run) -> None:
        life = run.lifecycle
        if life.queue_position:
            run.record(Admitted(time.monotonic() - life.changed))
            life.queue_position = 0
        life.is_suspending = life.has_returned = False
        self._set_status(run, RunStatus.RUNNING)
        work = run.context.copy().run
        threading.Thread(target=work, args=(self._make, run), name="longlive-run", daemon=True).start()

    def suspend(self, run: Run, action: scheduler.Suspend) -> None:
        """Have a run let go of the model."""
        if action.reason == "player_silent":
            run.emit(NoticeEvent("player_silent"))
        run.lifecycle.interruption = action.reason.replace("_", " ")
        run.record(Suspended(action.reason, run.limits.retention_s))
        run.suspend()

    def _set_status(self, run: Run, status: RunStatus) -> None:
        run.lifecycle.status, run.lifecycle.changed = status, time.monotonic()
        self.changed.notify_all()

    def _make(self, run: Run) -> None:
        """Make a run until its next status; runs in a thread of its own."""
        status = self._supervisor.make(run)
        with self.changed:
            run.lifecycle.is_suspending = False
            self._set_status(run, status)

    def forget(self, run: Run) -> None:
        """Drop a run and its files; whoever follows it still gets a last event."""
        self._runs.remove(run)
        if run.status is not RunStatus.FINISHED:
            run.record(Ended("expired", run.end_s))
            run.emit(RunFinished("expired"))
            run.lifecycle.status = RunStatus.FINISHED
        run.delete()
        self.on_forget(run)
