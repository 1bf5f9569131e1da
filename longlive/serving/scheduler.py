"""Who runs, who waits, who must go: a pure function of the runs, the capacity and the time.

actions = schedule(views, capacity, now, max_store_bytes=20e9)

It has no thread and no clock. The dispatcher applies the actions; nothing else changes a run's status.
"""

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from longlive.serving.capacity import Capacity
from longlive.serving.codes import NoticeCode, StopReason, SuspendReason
from longlive.serving.executors.events import Finished, Preempted
from longlive.serving.limits import Limits

QUEUE_UPDATE_S = 5.0
"""A viewer in the queue is told their position at least so often."""


class RunStatus(StrEnum):
    """Where a run is in its life."""

    WAITING = "waiting"
    RUNNING = "running"
    SUSPENDED = "suspended"
    FINISHED = "finished"


@dataclass(frozen=True, kw_only=True)
class RunView:
    """What the scheduler knows of a run; times are seconds of one monotonic clock.

    Attributes:
        key: of the run.
        model: name of the model that makes it.
        status: now.
        limits: its own.
        arrived: when it was started; the queue is in this order.
        changed: since when it has its status.
        running_s: how long it ran before ``changed``.
        is_stopping: it was told to stop.
        keeps_video: the stop keeps what was made.
        is_suspending: it was told to let go of the model.
        has_returned: its viewer came back since it was suspended.
        is_warned: its viewer was warned that it will stop soon.
        has_player: a player has reported for it.
        silent_s: seconds since its player reported.
        unattended_s: seconds since anybody followed it or its player reported.
        num_bytes: on disk.
        queue_position, queue_updated: the position that its viewer was told, and when; 0 before that.
    """

    key: str
    status: RunStatus
    limits: Limits
    arrived: float
    changed: float
    model: str = ""
    running_s: float = 0.0
    is_stopping: bool = False
    keeps_video: bool = True
    is_suspending: bool = False
    has_returned: bool = False
    is_warned: bool = False
    has_player: bool = False
    silent_s: float = 0.0
    unattended_s: float = 0.0
    num_bytes: int = 0
    queue_position: int = 0
    queue_updated: float = 0.0

    @property
    def is_leaving(self) -> bool:
        """Whether it was told to stop, or is over."""
        return self.is_stopping or self.status is RunStatus.FINISHED

    def left_s(self, now: float, *, contended: bool) -> float:
        """Seconds that it may still run: alone, or while others wait."""
        ran_s = self.running_s + (now - self.changed if self.status is RunStatus.RUNNING else 0.0)
        longest = self.limits.max_duration_s
        return (min(longest, self.limits.contended_duration_s) if contended else longest) - ran_s


@dataclass(frozen=True)
class Admit:
    """Start the run, or let a run that was told to stop finish."""

    key: str


@dataclass(frozen=True)
class Enqueue:
    """The viewer of a suspended run is back: it waits at its old position."""

    key: str


@dataclass(frozen=True)
class Park:
    """Nobody follows a run that waits: it is suspended."""

    key: str


@dataclass(frozen=True)
class Suspend:
    """Tell a running run to let go of the model."""

    key: str
    reason: SuspendReason


@dataclass(frozen=True)
class Stop:
    """Tell a running run to stop."""

    key: str
    reason: StopReason


@dataclass(frozen=True)
class Warn:
    """Warn the viewer that the run will stop in so many seconds."""

    key: str
    code: NoticeCode
    seconds: float


@dataclass(frozen=True)
class UpdatePosition:
    """Tell the viewer the run's position in the queue."""

    key: str
    position: int
    wait_s: float


@dataclass(frozen=True)
class Evict:
    """Forget a run and remove its files."""

    key: str


Action = Admit | Enqueue | Park | Suspend | Stop | Warn | UpdatePosition | Evict


def schedule(
    runs: Sequence[RunView], capacity: Capacity, now: float, *, max_store_bytes: float = float("inf")
) -> list[Action]:
    """What to do now.

    Args:
        runs: all runs that are kept.
        capacity: how many of each model may run at once.
        now: seconds of the clock of the views.
        max_store_bytes: the oldest idle runs are evicted when all take more.
    """
    views = {run.key: run for run in runs}
    actions: list[Action] = []
    for rule in (_enforce_limits, _preempt, _admit, _update_positions):
        new = rule(list(views.values()), capacity, now)
        actions += new
        for action in new:
            views[action.key] = _applied(views[action.key], action, now)
            if isinstance(action, Evict):
                del views[action.key]
    return [*actions, *_evict_oldest(views.values(), max_store_bytes)]


def status_after(last: Finished | Preempted, *, is_stopping: bool, has_returned: bool) -> RunStatus:
    """The status of a run whose stream has ended.

    Args:
        last: the stream's last event.
        is_stopping: it was told to stop, and has not finished: it is admitted once more, to finish.
        has_returned: its viewer came back since it was suspended.
    """
    if isinstance(last, Finished):
        return RunStatus.FINISHED
    if last.reason == "suspended" and not has_returned and not is_stopping:
        return RunStatus.SUSPENDED
    return RunStatus.WAITING


def queue(runs: Iterable[RunView]) -> list[RunView]:
    """The runs that wait for a slot, in the order in which they are admitted."""
    waiting = [run for run in runs if run.status is RunStatus.WAITING and not run.is_leaving]
    return sorted(waiting, key=lambda run: run.arrived)


def wait_s(position: int, runs: Iterable[RunView], capacity: int, now: float, contended_s: float) -> float:
    """Seconds until the run at this position of the queue (from 1) is admitted, at most.

    ``capacity`` is how many runs can be made at once, at least; ``contended_s`` how long each then has.
    """
    running = [run for run in runs if run.status is RunStatus.RUNNING]
    left = sorted(max(0.0, run.left_s(now, contended=True)) for run in running)
    ends = [0.0] * (capacity - len(left)) + left[max(0, len(left) - capacity) :]
    heapq.heapify(ends)
    wait = 0.0
    for _ in range(position if ends else 0):
        wait = heapq.heappop(ends)
        heapq.heappush(ends, wait + contended_s)
    return wait


def _enforce_limits(runs: Sequence[RunView], capacity: Capacity, now: float) -> list[Action]:
    found: list[Action] = []
    for run in runs:
        action = None
        if run.status is RunStatus.RUNNING:
            action = _limit_running(run, now)
        elif run.status is RunStatus.WAITING:
            is_away = run.unattended_s > run.limits.heartbeat_timeout_s
            action = Park(run.key) if is_away and not run.is_stopping else None
        elif run.status is RunStatus.FINISHED or not run.is_stopping:
            action = _limit_idle(run, now)
        if action is not None:
            found.append(action)
    return found


def _limit_running(run: RunView, now: float) -> Action | None:
    limits, admitted_s = run.limits, now - run.changed
    left = run.left_s(now, contended=False)
    if run.is_stopping or run.is_suspending:
        return None
    if min(run.unattended_s, admitted_s) > limits.disconnect_timeout_s:
        return Suspend(run.key, "viewer_away")
    if run.has_player and min(run.silent_s, admitted_s) > limits.heartbeat_timeout_s:
        return Suspend(run.key, "player_silent")
    if not run.has_player and run.running_s + admitted_s > limits.no_player_timeout_s:
        return Stop(run.key, "no_player")
    if left <= 0:
        return Stop(run.key, "max_duration")
    if left < limits.warning_s < limits.max_duration_s and not run.is_warned:
        return Warn(run.key, "max_duration_soon", left)
    return None


def _limit_idle(run: RunView, now: float) -> Action | None:
    is_expired = now - run.changed > run.limits.retention_s
    if is_expired or (run.is_stopping and not run.keeps_video):
        return Evict(run.key)
    is_back = run.status is RunStatus.SUSPENDED and run.has_returned
    return Enqueue(run.key) if is_back else None


def _preempt(runs: Sequence[RunView], capacity: Capacity, now: float) -> list[Action]:
    """While others wait, those who have had their time are warned and then stopped, the longest first."""
    running = [run for run in runs if run.status is RunStatus.RUNNING]
    staying = [run for run in running if not run.is_leaving and not run.is_suspending]
    staying.sort(key=lambda run: run.left_s(now, contended=True))
    leaving = [run for run in running if run not in staying]
    needed = capacity.num_to_end(_models(queue(runs)), _models(leaving), _models(staying))
    actions: list[Action] = []
    for run in staying[:needed]:
        left = run.left_s(now, contended=True)
        if left <= 0:
            actions.append(Stop(run.key, "contended_duration"))
        elif left < run.limits.warning_s and not run.is_warned:
            actions.append(Warn(run.key, "contended_duration_soon", left))
    return actions


def _admit(runs: Sequence[RunView], capacity: Capacity, now: float) -> list[Action]:
    """Start runs while there are free slots; those that were told to stop need none to finish.

    Nobody overtakes: who waits until another model can be loaded is not kept waiting by those after them.
    """
    idle = (RunStatus.WAITING, RunStatus.SUSPENDED)
    leaving = [run for run in runs if run.is_stopping and run.status in idle]
    running = _models(run for run in runs if run.status is RunStatus.RUNNING)
    admitted: list[RunView] = []
    for run in queue(runs):
        if not capacity.admits(run.model, running):
            break
        running.append(run.model)
        admitted.append(run)
    return [Admit(run.key) for run in [*leaving, *admitted]]


def _update_positions(runs: Sequence[RunView], capacity: Capacity, now: float) -> list[Action]:
    actions: list[Action] = []
    active = (RunStatus.RUNNING, RunStatus.WAITING)
    slots = capacity.at_once(run.model for run in runs if run.status in active)
    for position, run in enumerate(queue(runs), 1):
        if position != run.queue_position or now - run.queue_updated > QUEUE_UPDATE_S:
            wait = wait_s(position, runs, slots, now, run.limits.contended_duration_s)
            actions.append(UpdatePosition(run.key, position, wait))
    return actions


def _models(runs: Iterable[RunView]) -> list[str]:
    return [run.model for run in runs]


def _evict_oldest(runs: Iterable[RunView], max_bytes: float) -> list[Action]:
    runs = list(runs)
    idle = [run for run in runs if run.status in (RunStatus.FINISHED, RunStatus.SUSPENDED)]
    idle = [run for run in idle if math.isfinite(run.limits.retention_s)]
    over = sum(run.num_bytes for run in runs) - max_bytes
    actions: list[Action] = []
    for run in sorted(idle, key=lambda run: run.changed):
        if over <= 0:
            break
        over -= run.num_bytes
        actions.append(Evict(run.key))
    return actions


def _applied(run: RunView, action: Action, now: float) -> RunView:
    """The view of a run once an action was applied."""
    match action:
        case Admit():
            return replace(run, status=RunStatus.RUNNING, changed=now, is_suspending=False)
        case Enqueue():
            return replace(run, status=RunStatus.WAITING, changed=now)
        case Park():
            return replace(run, status=RunStatus.SUSPENDED, changed=now)
        case Stop():
            return replace(run, is_stopping=True)
        case Suspend():
            return replace(run, is_suspending=True)
        case Warn():
            return replace(run, is_warned=True)
    return run
