"""What a voter notes: missing chunks, runs that follow one another, and prompts that have won."""

from typing import Any

from longlive.benchmark.loadtest.voting.room_log import RoomLog


def news(number: int, text: str = "", votes: int = 1, waiting: tuple[int, ...] = ()) -> dict[str, Any]:
    chosen = {"text": text, "votes": votes} if text else None
    proposals = [{"number": one} for one in waiting]
    return {"kind": "news", "proposals": proposals, "round": {"number": number}, "chosen": chosen}


def hello(take: str, chunk: int, **more: Any) -> dict[str, Any]:
    return news(1) | more | {"kind": "hello", "take": take, "chunk": chunk}


def segment(chunk: int, prompt: str = "a ball", *, ends: bool = True) -> dict[str, Any]:
    return {"kind": "segment", "chunk": chunk, "prompt": prompt, "ends_chunk": ends}


def fed(*messages: dict[str, Any]) -> RoomLog:
    log = RoomLog()
    for now, message in enumerate(messages):
        log.feed(message, float(now))
    return log


def test_chunks_in_a_row_miss_nothing_also_in_parts_and_after_a_rewind() -> None:
    parts = [segment(5, ends=False), segment(5), segment(6), segment(7)]
    log = fed(hello("a", 5), *parts, {"kind": "rewind", "chunk": 6}, segment(6), segment(7))
    assert (log.missing, log.num_chunks, log.next_chunk, log.takes) == (0, 5, 8, 1)


def test_a_chunk_that_never_came_is_missing() -> None:
    assert fed(hello("a", 0), segment(0), segment(3)).missing == 2


def test_a_connection_that_goes_on_after_what_came_misses_nothing() -> None:
    assert fed(hello("a", 0), segment(0), segment(1), hello("a", 2), segment(2)).missing == 0
    assert fed(hello("a", 0), segment(0), segment(1), hello("a", 1), segment(1), segment(2)).missing == 0
    assert fed(hello("a", 0), segment(0), hello("a", 4), segment(4)).missing == 3


def test_a_run_that_follows_is_seen_from_its_beginning() -> None:
    log = fed(hello("a", 7), segment(7), hello("b", 0), segment(0), segment(1))
    assert (log.missing, log.takes) == (0, 2)
    assert fed(hello("a", 7), segment(7), hello("b", 2)).missing == 2


def test_a_prompt_that_has_won_is_waited_for() -> None:
    log = fed(
        hello("a", 0), news(2, "a box"), segment(0), segment(1, "a box"), news(3, "a cat"), news(4, "x", 0)
    )
    assert (log.rounds, log.num_won, log.delays_s()) == (3, 2, [2.0])
    assert log.num_unseen(5.0, 20) == 0 and log.num_unseen(30.0, 20) == 1


def test_what_had_won_before_it_came_is_not_waited_for() -> None:
    log = fed(hello("a", 0, chosen={"text": "a box", "votes": 3}), news(1, "a box", waiting=(4, 5)))
    assert log.num_won == 0 and log.numbers == {4, 5}
