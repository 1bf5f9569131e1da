"""A bounded log with cursors: nothing comes twice, what is lost is known, and nobody polls."""

import threading
import time

from longlive.serving.runs.event_log import EventLog


def numbers(log: EventLog[str], cursor: int) -> list[int]:
    return [number for number, _ in log.since(cursor)]


def test_every_follower_reads_from_its_own_cursor() -> None:
    log: EventLog[str] = EventLog(8)
    for event in "abc":
        assert log.append(event) == 0
    assert log.since(0) == [(1, "a"), (2, "b"), (3, "c")]
    assert log.since(2) == [(3, "c")] and log.since(3) == [] and log.last == 3
    assert log.since(0) == log.kept(), "another follower gets them all"


def test_the_oldest_are_dropped_and_those_that_nobody_read_are_counted() -> None:
    log: EventLog[int] = EventLog(4)
    assert [log.append(event) for event in range(6)] == [0, 0, 0, 0, 1, 1]
    assert numbers(log, 0) == [3, 4, 5, 6]  # type: ignore[arg-type]
    assert [log.append(event) for event in range(4)] == [0, 0, 0, 0], "these had been read"
    assert log.append(4) == 1


def test_looking_at_what_is_kept_does_not_count_as_reading() -> None:
    log: EventLog[int] = EventLog(1)
    log.append(0)
    log.kept()
    assert log.append(1) == 1


def test_who_waits_is_woken_by_the_next_event_and_not_later() -> None:
    log: EventLog[str] = EventLog(8)
    threading.Timer(0.1, log.append, ("a",)).start()
    started = time.monotonic()
    assert log.since(0, timeout=30) == [(1, "a")]
    assert time.monotonic() - started < 10
    assert log.since(1, timeout=0.05) == []


def test_who_asked_to_be_notified_is_until_it_leaves() -> None:
    log: EventLog[str] = EventLog(8)
    woken: list[int] = []
    with log.notify(lambda: woken.append(log.last)):
        log.append("a")
        log.append("b")
    log.append("c")
    assert woken == [1, 2]


def test_many_writers_and_readers_lose_and_double_nothing() -> None:
    log: EventLog[int] = EventLog(10_000)
    threads = [threading.Thread(target=lambda: [log.append(n) for n in range(500)]) for _ in range(4)]
    seen: list[int] = []
    for thread in threads:
        thread.start()
    while len(seen) < 2000:
        seen += [number for number, _ in log.since(seen[-1] if seen else 0, timeout=1.0)]
    for thread in threads:
        thread.join()
    assert seen == list(range(1, 2001))
