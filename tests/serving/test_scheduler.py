"""Who runs, who waits, who must go: the scheduler needs neither a thread nor a clock."""

import dataclasses
from pathlib import Path

import pytest

from longlive.serving import scheduler
from longlive.serving.capacity import Capacity
from longlive.serving.executors.events import Failure, Finished, Preempted
from longlive.serving.limits import Limits
from longlive.serving.scheduler import (
    Action,
    Admit,
    Enqueue,
    Evict,
    Park,
    RunStatus,
    RunView,
    Stop,
    Suspend,
    UpdatePosition,
    Warn,
    schedule,
    status_after,
    wait_s,
)

NOW = 1000.0
LIMITS = Limits()
WAITING, RUNNING = RunStatus.WAITING, RunStatus.RUNNING
SUSPENDED, FINISHED = RunStatus.SUSPENDED, RunStatus.FINISHED


def view(key: str, status: RunStatus = WAITING, since: float = 0.0, **facts) -> RunView:
    """A run that has had its status for ``since`` seconds."""
    plain = {"limits": LIMITS, "arrived": NOW - 100.0, "changed": NOW - since}
    return RunView(key=key, status=status, **(plain | facts))


def actions(*runs: RunView, capacity: int | Capacity = 1, **options: float) -> list[Action]:
    capacity = capacity if isinstance(capacity, Capacity) else Capacity({"": capacity})
    return schedule(runs, capacity, NOW, **options)


def test_nothing_is_done_about_nothing() -> None:
    assert actions() == []


def test_as_many_are_admitted_as_there_are_slots_in_the_order_of_their_arrival() -> None:
    runs = [view(key, arrived=NOW - age) for key, age in (("a", 1), ("b", 3), ("c", 2))]
    assert actions(*runs, capacity=2) == [Admit("b"), Admit("c"), UpdatePosition("a", 1, 300.0)]


def test_a_full_engine_admits_nobody() -> None:
    assert Admit("b") not in actions(view("a", RUNNING), view("b"))


def test_a_run_that_was_told_to_stop_is_let_finish_without_a_free_slot() -> None:
    runs = view("a", RUNNING), view("b", is_stopping=True), view("c", SUSPENDED, is_stopping=True)
    assert [one for one in actions(*runs) if isinstance(one, Admit)] == [Admit("b"), Admit("c")]


@pytest.mark.parametrize(
    ("facts", "action"),
    [
        ({"unattended_s": 5.1}, Suspend("a", "viewer_away")),
        ({"has_player": True, "silent_s": 15.1}, Suspend("a", "player_silent")),
        ({"running_s": 120.0}, Stop("a", "no_player")),
        ({"has_player": True, "running_s": 1800.0}, Stop("a", "max_duration")),
        ({"has_player": True, "running_s": 1785.0 - 20}, Warn("a", "max_duration_soon", 15.0)),
        ({"has_player": True, "running_s": 1785.0 - 20, "is_warned": True}, None),
        ({"has_player": True, "silent_s": 14.9, "unattended_s": 4.9}, None),
        ({"unattended_s": 99.0, "is_stopping": True}, None),
        ({"unattended_s": 99.0, "is_suspending": True}, None),
    ],
)
def test_a_running_run_keeps_to_its_limits(facts, action) -> None:
    assert actions(view("a", RUNNING, since=20.0, **facts)) == ([action] if action else [])


def test_who_was_just_admitted_is_not_taken_for_away_at_once() -> None:
    assert actions(view("a", RUNNING, since=1.0, has_player=True, silent_s=99.0, unattended_s=99.0)) == []


def test_a_run_that_waits_alone_is_parked_and_comes_back_to_its_place() -> None:
    assert actions(view("a", unattended_s=15.1), capacity=0) == [Park("a")]
    assert actions(view("a", SUSPENDED), capacity=1) == []
    back = view("a", SUSPENDED, has_returned=True, arrived=NOW - 200.0)
    assert actions(back, view("b"), capacity=1)[:2] == [Enqueue("a"), Admit("a")]


@pytest.mark.parametrize("status", [SUSPENDED, FINISHED])
def test_what_nobody_comes_back_for_is_evicted_in_the_end(status) -> None:
    assert actions(view("a", status, since=599.0)) == []
    assert actions(view("a", status, since=601.0)) == [Evict("a")]
    assert actions(view("a", status, since=601.0, has_returned=True)) == [Evict("a")]


def test_a_finished_run_that_keeps_nothing_is_evicted_at_once() -> None:
    assert actions(view("a", FINISHED, is_stopping=True, keeps_video=False)) == [Evict("a")]
    assert actions(view("a", FINISHED, is_stopping=True)) == []


def test_while_others_wait_the_longest_is_warned_then_stopped() -> None:
    old, young = view("a", RUNNING, since=280.0, has_player=True), view("b", RUNNING, has_player=True)
    assert actions(old, young, view("c"), capacity=2)[0] == Warn("a", "contended_duration_soon", 20.0)
    warned = dataclasses.replace(old, is_warned=True)
    assert not [one for one in actions(warned, young, view("c"), capacity=2) if isinstance(one, Warn | Stop)]
    over = dataclasses.replace(warned, changed=NOW - 301.0)
    assert actions(over, young, view("c"), capacity=2)[0] == Stop("a", "contended_duration")
    assert actions(over, young, capacity=2) == [], "nobody waits"
    assert actions(over, young, view("c"), capacity=3) == [Admit("c")], "there is a free slot"
    leaving = view("d", RUNNING, is_suspending=True)
    assert not [one for one in actions(over, leaving, view("c"), capacity=2) if isinstance(one, Stop)]


def test_the_position_is_told_when_it_changes_and_now_and_then() -> None:
    running = view("a", RUNNING, since=100.0, has_player=True)
    told = view("b", queue_position=1, queue_updated=NOW - 4.0)
    assert actions(running, told) == []
    assert actions(running, dataclasses.replace(told, queue_updated=NOW - 6.0)) == [
        UpdatePosition("b", 1, 200.0)
    ]
    assert actions(running, dataclasses.replace(told, queue_position=2)) == [UpdatePosition("b", 1, 200.0)]


def test_the_wait_holds_when_there_are_fewer_slots_than_runs() -> None:
    limits = Limits(contended_duration_s=100.0)
    ages = zip("abc", (10.0, 20.0, 30.0), strict=True)
    runs = [view(key, RUNNING, limits=limits, running_s=ran) for key, ran in ages]
    waits = [wait_s(position, runs, 3, NOW, 100.0) for position in (1, 2, 3, 4)]
    assert waits == pytest.approx([70, 80, 90, 170])
    waits = [wait_s(position, runs, 2, NOW, 100.0) for position in (1, 2, 3)]
    assert waits == pytest.approx([80, 90, 180]), "the first to go leaves no free slot"
    assert wait_s(1, [], 0, NOW, 100.0) == 0.0


def test_a_run_that_is_kept_for_ever_is_not_evicted_for_its_size() -> None:
    kept = dataclasses.replace(LIMITS, retention_s=float("inf"))
    runs = view("a", SUSPENDED, since=500.0, limits=kept, num_bytes=90), view("b", SUSPENDED, num_bytes=20)
    assert actions(*runs, max_store_bytes=100) == [Evict("b")]
    assert actions(*runs, max_store_bytes=50) == [Evict("b")]


def test_the_oldest_idle_runs_are_evicted_when_the_store_is_full() -> None:
    runs = [
        view("a", FINISHED, since=30.0, num_bytes=40),
        view("b", SUSPENDED, since=50.0, num_bytes=40),
        view("c", RUNNING, num_bytes=40, has_player=True),
    ]
    assert actions(*runs, max_store_bytes=120) == []
    assert actions(*runs, max_store_bytes=100) == [Evict("b")]
    assert actions(*runs, max_store_bytes=50) == [Evict("b"), Evict("a")], "what is running stays"


@pytest.mark.parametrize(
    ("last", "is_stopping", "has_returned", "status"),
    [
        (Finished("complete"), False, False, FINISHED),
        (Finished("failed", Failure("model")), True, True, FINISHED),
        (Preempted("suspended"), False, False, SUSPENDED),
        (Preempted("suspended"), False, True, WAITING),
        (Preempted("lease_over"), False, False, WAITING),
        (Preempted("worker_lost"), True, False, WAITING),
    ],
)
def test_the_status_after_a_stream(last, is_stopping, has_returned, status) -> None:
    assert status_after(last, is_stopping=is_stopping, has_returned=has_returned) is status


def test_it_has_no_clock_and_no_thread() -> None:
    source = Path(scheduler.__file__).read_text(encoding="utf-8")
    assert "import time" not in source and "import threading" not in source


def test_who_waits_for_another_model_is_not_overtaken_and_gets_in_when_the_others_have_had_their_time() -> (
    None
):
    turns = Capacity({"a": 4, "b": 2}, is_exclusive=True)
    waiting = view("2", model="b", arrived=NOW - 9), view("3", model="a", arrived=NOW - 8)
    done = actions(view("1", RUNNING, since=20.0, model="a", has_player=True), *waiting, capacity=turns)
    assert done == [UpdatePosition("2", 1, 280.0), UpdatePosition("3", 2, 580.0)]
    late = [view(key, RUNNING, since=301.0, model="a", has_player=True) for key in ("1", "4")]
    assert [one for one in actions(*late, *waiting, capacity=turns) if isinstance(one, Stop)] == [
        Stop("1", "contended_duration"),
        Stop("4", "contended_duration"),
    ]
    assert [one.key for one in actions(*waiting, capacity=turns) if isinstance(one, Admit)] == ["2"]


def test_models_in_memory_together_share_the_slots() -> None:
    both = Capacity({"a": 4, "b": 2})
    runs = [view(key, model=model, arrived=NOW - 9 + int(key)) for key, model in enumerate_models("abab")]
    admitted = [one.key for one in actions(*runs, capacity=both) if isinstance(one, Admit)]
    assert admitted == ["0", "1", "2"], "a quarter, a half and a quarter"


def enumerate_models(models: str) -> list[tuple[str, str]]:
    return [(str(number), model) for number, model in enumerate(models)]
