"""What all who watch a run along are sent, without a page around it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from longlive.audience.audience import Audience, Audiences
from longlive.serving.engine import Engine
from longlive.serving.runs.run import Run
from longlive.web.watch import broadcast as module
from longlive.web.watch.broadcast import Broadcast, Broadcasts
from tests.support.event_loop import run_in_thread
from tests.support.fakes import FakeModels, make_engine
from tests.support.live_frames import Frame, frames
from tests.support.page_client import cards_of
from tests.support.run_reader import wait_for

MEADOW, JUMP = "a red ball stands on a green meadow", "the red ball jumps on a green meadow"
LIMITS = {"buffer_ahead_s": 3.0, "disconnect_timeout_s": 600.0, "no_player_timeout_s": 600.0}


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = make_engine(FakeModels(chunk_s=0.02), **LIMITS)
    yield engine
    engine.close()


@pytest.fixture
def run(engine: Engine) -> Run:
    """A run whose viewer has seen a little."""
    run = engine.start("ada", MEADOW, seed=7)
    wait_for(lambda: run.num_chunks >= 4)
    return run


async def read(stream: AsyncIterator[bytes], is_enough: Callable[[list[Frame]], bool]) -> list[Frame]:
    """Frames as they come, until there are enough."""
    found: list[Frame] = []
    async with asyncio.timeout(60):
        async for part in stream:
            found += frames(iter([part]))
            if is_enough(found):
                break
    await stream.aclose()  # type: ignore[attr-defined]
    return found


def follow(
    broadcast: Broadcast, is_enough: Callable[[list[Frame]], bool], chunk: int | None = None
) -> list[Frame]:
    return run_in_thread(read(broadcast.follow(chunk, ""), is_enough))


def chunks_of(found: list[Frame]) -> list[int]:
    """The chunks that ended."""
    return [one["chunk"] for one, _ in found if one and one["kind"] == "segment" and one["ends_chunk"]]


def cards(found: list[Frame]) -> list[tuple[int, int]]:
    return [card for one, data in found if one and one["kind"] == "segment" for card in cards_of(data)]


def test_who_comes_sees_what_the_viewer_sees_from_a_key_picture_on(run: Run) -> None:
    wait_for(lambda: run.presence.clock.position(run.end_s) > 1)
    found = follow(Broadcast(Audience(run)), lambda got: len(chunks_of(got)) >= 6)
    hello, state = found[0][0], found[1][0]
    assert hello and state and (hello["kind"], state["kind"]) == ("hello", "state")
    assert hello["take"] == run.name and hello["spans"][0]["text"] == MEADOW
    assert hello["second"] <= state["at"] < hello["second"] + 0.75 + 0.1, "the chunk that is on the screen"
    first = 9 + 12 * (hello["chunk"] - 1)
    assert cards(found) == [(frame, 0) for frame in range(first, first + 12 * len(chunks_of(found)))]


def test_nothing_counts_as_read_and_nobody_as_the_viewer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.events, "since", lambda *_, **__: pytest.fail("the owner's count is falsified"))
    monkeypatch.setattr(run.presence, "follow", lambda: pytest.fail("the viewer is taken to be there"))
    follow(Broadcast(Audience(run)), lambda got: len(chunks_of(got)) >= 3)


def test_a_frame_is_packed_once_however_many_follow(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    packed: list[int] = []

    def pack(event):
        if hasattr(event, "segment"):
            packed.append(event.segment.first_frame)
        return pack_event(event)

    pack_event = module.event_frame
    monkeypatch.setattr(module, "event_frame", pack)
    broadcast = Broadcast(Audience(run))

    async def crowd() -> list[list[Frame]]:
        streams = [broadcast.follow(0, "") for _ in range(50)]
        return await asyncio.gather(*(read(one, lambda got: 8 in chunks_of(got)) for one in streams))

    seen = run_in_thread(crowd())
    assert cards(seen[0])[:105] == [(frame, 0) for frame in range(105)]
    pictures = [[data for _, data in one if data][:10] for one in seen]
    assert all(one == pictures[0] for one in pictures)
    assert len(packed) == len(set(packed)) >= 9
    assert broadcast.audience.count == 0 and broadcast.audience.peak == 50


def test_a_prompt_that_drops_chunks_drops_them_for_those_who_watch(run: Run) -> None:
    run.playhead(0.1, True)
    broadcast = Broadcast(Audience(run))
    wait_for(lambda: run.num_chunks >= 5)

    async def watch() -> list[Frame]:
        asyncio.get_running_loop().call_later(0.2, run.prompt, JUMP)
        return await read(broadcast.follow(0, ""), has_turned)

    def has_turned(got: list[Frame]) -> bool:
        return any(one and one.get("prompt_index") == 1 and one["ends_chunk"] for one, _ in got)

    found = run_in_thread(watch())
    (rewind,) = [one for one, _ in found if one and one["kind"] == "rewind"]
    assert set(rewind) == {"kind", "chunk", "second"}
    at = next(i for i, (one, _) in enumerate(found) if one is rewind)
    assert rewind["chunk"] in chunks_of(found[:at]), "it was sent before"
    first = round(16 * rewind["second"])
    assert cards(found[at:])[0] == (first, 1), "and comes again, with the new prompt"


def test_a_restart_of_the_app_leaves_no_gap(tmp_path: Path) -> None:
    engine = make_engine(FakeModels(chunk_s=0.02), folder=tmp_path, **LIMITS)
    run = engine.start("ada", MEADOW, seed=7)
    token, id = run.token, Audiences().open(run).id
    wait_for(lambda: run.num_chunks >= 5)
    before = follow(Broadcast(Audience(run)), lambda got: len(chunks_of(got)) >= 3, chunk=0)
    missing = max(chunks_of(before)) + 1
    engine.close()

    engine = make_engine(FakeModels(chunk_s=0.02), folder=tmp_path, **LIMITS)
    audience = Audiences(engine.runs).find(id)
    assert audience is not None
    broadcast = Broadcast(audience)

    async def watch() -> list[Frame]:
        loop = asyncio.get_running_loop()
        loop.call_later(0.3, audience.run.replay_stored, 0.0)
        loop.call_later(0.4, engine.claim, "ada again", token)
        return await read(
            broadcast.follow(missing, audience.run.name), lambda got: missing + 6 in chunks_of(got)
        )

    stored = audience.run.num_chunks
    after = run_in_thread(watch())
    engine.close()
    states = [one["state"] for one, _ in after if one and one["kind"] == "state"]
    assert states[0] == "resting" and states[-1] != "resting"
    assert stored < missing + 6, "the last ones were made after the restart"
    # Frames that both connections had are the same; none is missing, and none comes twice.
    kept = [card for card in cards(before) if card[0] < 9 + 12 * (missing - 1)]
    assert [number for number, _ in kept + cards(after)] == list(range(len(kept) + len(cards(after))))


def test_those_who_watch_are_led_to_the_next_run(engine: Engine, run: Run) -> None:
    audience = Audience(run)

    async def watch() -> list[Frame]:
        stream = Broadcast(audience).follow(None, "")
        found = await read_some(stream, lambda got: bool(chunks_of(got)))
        audience.run = engine.start("ada", JUMP, seed=8)
        return found + await read(stream, lambda got: 2 in chunks_of(after_hello(got)))

    def after_hello(got: list[Frame]) -> list[Frame]:
        return list(itertools.dropwhile(lambda one: one[0] and one[0]["kind"] != "hello", got))

    found = run_in_thread(watch())
    hellos = [(i, one) for i, (one, _) in enumerate(found) if one and one["kind"] == "hello"]
    (_, first), (at, second) = hellos
    assert first["take"] == run.name and second["take"] == audience.run.name
    assert (second["chunk"], second["second"]) == (0, 0.0)
    assert cards(found[at:])[:20] == [(frame, 0) for frame in range(20)]


async def read_some(stream: AsyncIterator[bytes], is_enough: Callable[[list[Frame]], bool]) -> list[Frame]:
    """Like ``read``; the stream goes on."""
    found: list[Frame] = []
    while not is_enough(found):
        found += frames(iter([await anext(stream)]))
    return found


def test_a_closed_audience_ends_all_streams(run: Run) -> None:
    audience = Audience(run)
    broadcast = Broadcasts().of(audience)

    async def watch() -> list[list[Frame]]:
        streams = [read(broadcast.follow(None, ""), lambda _: False) for _ in range(3)]
        asyncio.get_running_loop().call_later(0.3, setattr, audience, "is_open", False)
        return await asyncio.gather(*streams)

    for found in run_in_thread(watch()):
        assert found[-1] == ({"kind": "closed"}, b"")
        assert [one["kind"] for one, _ in found if one].count("closed") == 1
    assert audience.count == 0


def test_who_is_too_slow_is_cut_off_and_holds_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.01)
    broadcast = Broadcast(Audience(run))

    async def watch() -> int:
        slow, quick = broadcast.follow(None, ""), broadcast.follow(None, "")
        await anext(slow)
        for _ in range(200):
            await anext(quick)
        found = [part async for part in slow]
        await quick.aclose()  # type: ignore[attr-defined]
        return len(found)

    assert run_in_thread(watch()) < 100


def test_those_who_come_in_a_crowd_do_not_drive_the_others_out(run: Run) -> None:
    run.playhead(0.0, False)
    wait_for(lambda: run.end_s > 2)
    broadcast = Broadcast(Audience(run))

    async def watch() -> int:
        first = broadcast.follow(None, "")
        await anext(first)
        others = [broadcast.follow(None, "") for _ in range(200)]
        for one in others:
            await anext(one)
        run.playhead(0.5, True)
        found = await read(first, lambda got: len(chunks_of(got)) >= 6)
        for one in others:
            await one.aclose()  # type: ignore[attr-defined]
        return len(chunks_of(found))

    assert run_in_thread(watch()) >= 6


def test_more_events_than_the_log_keeps_make_no_gap(run: Run) -> None:
    broadcast = Broadcast(Audience(run))

    async def watch() -> list[Frame]:
        stream = broadcast.follow(0, "")
        found = await read_some(stream, lambda got: bool(chunks_of(got)))
        for _ in range(100):
            run.emit(run.events.kept()[0][1])
        async with asyncio.timeout(10):
            async for part in stream:
                found += frames(iter([part]))
        return found

    numbers = [number for number, _ in cards(run_in_thread(watch()))]
    assert numbers == list(range(len(numbers))), "the stream ends; who comes again gets what is missing"


def test_the_audience_is_told_what_has_changed(run: Run) -> None:
    audience = Audience(run)

    async def watch() -> list[Frame]:
        stream = Broadcast(audience).follow(None, "")
        found = await read_some(stream, lambda got: len(got) > 3)
        audience.takes_proposals = True
        audience.proposals.propose("the-voice", "10.0.0.1", JUMP)
        return found + await read(stream, lambda got: len(got) > 12)

    found = run_in_thread(watch())
    news = [one for one, _ in found if one and one["kind"] == "news"]
    assert news[-1]["proposals"] == [{"number": 1, "text": JUMP, "votes": 1}]
    changes = [(one["takes_proposals"], len(one["proposals"])) for one in news]
    assert len(changes) == len(list(itertools.groupby(changes))), "nothing is told twice"
