"""Reading a run's events one by one, as a follower does."""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from weakref import WeakKeyDictionary

from longlive.errors import BusyError
from longlive.serving.engine import Engine
from longlive.serving.executors.events import NoticeEvent, SegmentEvent
from longlive.serving.runs.events import RunEvent, RunFinished, RunStarted
from longlive.serving.runs.run import Run
from longlive.serving.scheduler import RunStatus

_PENDING: "WeakKeyDictionary[Run, tuple[list[int], deque[RunEvent]]]" = WeakKeyDictionary()


def next_event(run: Run) -> RunEvent | None:
    """The next event that no call has returned yet, RunStarted left out; None if there is none."""
    cursor, pending = _PENDING.setdefault(run, ([0], deque()))
    run.presence.follow()
    if not pending:
        for number, event in run.events.since(cursor[0]):
            cursor[0] = number
            if not isinstance(event, RunStarted):
                pending.append(event)
    return pending.popleft() if pending else None


def drain(run: Run) -> list[RunEvent]:
    """All events that are there."""
    events = []
    while (event := next_event(run)) is not None:
        events.append(event)
    return events


def read(run: Run, until: Callable[[RunEvent], bool], timeout: float = 60.0) -> list[RunEvent]:
    """All events up to the first that ``until`` accepts; AssertionError if it does not come in time."""
    events: list[RunEvent] = []
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        event = next_event(run)
        if event is None:
            time.sleep(0.002)
            continue
        events.append(event)
        if until(event):
            return events
    raise AssertionError(f"not seen in {timeout} s; came: {[type(event).__name__ for event in events]}")


def is_segment(index: int) -> Callable[[RunEvent], bool]:
    """Whether an event is a segment of this chunk."""
    return lambda event: isinstance(event, SegmentEvent) and event.segment.index == index


def is_finished(event: RunEvent) -> bool:
    """Whether an event is a run's last."""
    return isinstance(event, RunFinished)


def codes(events: list[RunEvent]) -> list[str]:
    """The codes of the notices among events."""
    return [event.code for event in events if isinstance(event, NoticeEvent)]


def segments(events: list[RunEvent]) -> list:
    """The segments among events."""
    return [event.segment for event in events if isinstance(event, SegmentEvent)]


def wait_for(condition: Callable[[], bool], timeout: float = 60.0) -> None:
    """Wait until a condition holds; AssertionError if it does not in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.002)


def unfinished(engine: Engine) -> list[Run]:
    """The runs of an engine that are not over."""
    return [run for run in engine.runs if run.status is not RunStatus.FINISHED]


def run_of(engine: Engine, viewer: str) -> Run | None:
    """The viewer's run that goes on, waits, or is suspended."""
    return next((run for run in unfinished(engine) if run.viewer == viewer and not run.is_leaving), None)


def forget_all(engine: Engine) -> bool:
    """Forget what is not being made any more; whether nothing is left."""
    for run in list(engine.runs):
        with suppress(BusyError):
            engine.forget(run.token)
    return not list(engine.runs)
