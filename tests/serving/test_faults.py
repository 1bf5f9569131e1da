"""Faults, and what is promised all the same; the table of them is in longlive/serving/README.md."""

import itertools
import math
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import pytest

from longlive.errors import MediaError
from longlive.files import name_of_video
from longlive.media.segments import SegmentEncoder
from longlive.serving import supervisor
from longlive.serving.engine import Engine
from longlive.serving.executors.events import SegmentEvent
from longlive.serving.executors.messages import Playhead
from longlive.serving.executors.playback_clock import MAX_LEAP_S
from longlive.serving.runs.events import RunFinished
from longlive.serving.runs.run import KEPT_EVENTS
from tests.support import fakes
from tests.support.fakes import FakeModels, read_card
from tests.support.metrics_reader import figures
from tests.support.run_reader import (
    codes,
    drain,
    is_finished,
    is_segment,
    read,
    segments,
    unfinished,
    wait_for,
)

MEADOW, JUMP = "a red ball stands on a green meadow", "the red ball jumps on a green meadow"


@pytest.fixture
def make_engine() -> Iterator[Callable[..., Engine]]:
    engines: list[Engine] = []

    def make(models: FakeModels | None = None, **options) -> Engine:
        engines.append(fakes.make_engine(models, **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()
        assert engine.executor.runner.models.open_now == 0, "a session was left open"


def pictures_of(finished: RunFinished) -> list[int]:
    """The numbers of the pictures in a video of test cards."""
    with av.open(str(finished.video)) as take:
        return [read_card(picture.to_ndarray(format="rgb24"))[0] for picture in take.decode(video=0)]


def spoil_encoders(monkeypatch: pytest.MonkeyPatch, prompt: str, chunks: list[int]) -> None:
    """Encoders refuse the chunks of a prompt that are listed, once for each time that they are."""
    plain = SegmentEncoder.encode

    def encode(encoder, chunk):
        if chunk.prompt == prompt and chunk.index in chunks:
            chunks.remove(chunk.index)
            raise MediaError(f"chunk {chunk.index} could not be encoded: it died")
        return plain(encoder, chunk)

    monkeypatch.setattr(SegmentEncoder, "encode", encode)


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes, as on a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_an_encoder_that_dies_is_replaced_and_no_picture_is_lost(make_engine, monkeypatch) -> None:
    spoil_encoders(monkeypatch, MEADOW, [2])
    engine = make_engine(max_video_s=3.0, buffer_ahead_s=99)
    *words, finished = read(engine.start("ada", MEADOW, seed=0), is_finished)
    assert codes(words) == ["encoder_restarted"]
    assert finished.failure is None and pictures_of(finished) == list(range(48))
    assert figures(engine.metrics)["longlive_failures_total{kind=encoder}"] == 1


def test_an_encoder_that_stays_dead_ends_its_story_in_words_and_no_other(make_engine, monkeypatch) -> None:
    spoil_encoders(monkeypatch, MEADOW, [3] * 9)
    engine = make_engine(buffer_ahead_s=99)
    ada = engine.start("ada", MEADOW, seed=0)
    bob = engine.start("bob", JUMP, seed=0)
    finished = read(ada, is_finished)[-1]
    assert finished.failure.kind == "encoder" and "could not be encoded" in finished.failure.detail
    assert pictures_of(finished) == list(range(9 + 2 * 12)), "what was made is kept"
    assert not codes(read(bob, is_segment(9)))


@pytest.mark.parametrize("where", ["no folder can be made", "nothing can be written"])
def test_a_full_disk_at_the_start_is_told_in_words_and_leaves_nothing(
    make_engine, monkeypatch, where
) -> None:
    engine = make_engine()
    with (
        monkeypatch.context() as patch,
        disk_of(10),
        pytest.raises(MediaError, match="No video can be stored"),
    ):
        if where == "no folder can be made":
            patch.setattr(Path, "mkdir", lambda *_, **__: os.write(os.open("/dev/full", os.O_WRONLY), b"."))
        engine.start("ada", MEADOW, seed=0)
    assert len(unfinished(engine)) == 0 and not [path for path in engine.folder.iterdir() if path.is_dir()]
    read(engine.start("ada", MEADOW, seed=0), is_segment(2))


def test_a_disk_that_is_full_at_the_end_costs_the_film_alone(make_engine) -> None:
    engine = make_engine()
    run = engine.start("ada", MEADOW, seed=0)
    read(run, is_segment(2))
    run.playhead(0.0, playing=False)
    drain(run)
    lines = run.store.folder / "story.jsonl"
    with disk_of(lines.stat().st_size + 3000):  # room for the last lines, but not for the film
        run.stop("user")
        finished = read(run, is_finished)[-1]
    assert finished.video is None and finished.session_file.exists()
    assert finished.not_kept[0].startswith("the video longlive-")
    assert not list(run.store.folder.glob("*.part")) and run.status == "finished"
    assert figures(engine.metrics)["longlive_failures_total{kind=disk}"] == 1


def test_the_session_file_does_not_cost_the_film(make_engine, monkeypatch) -> None:
    run = make_engine(max_video_s=1, buffer_ahead_s=99).start("ada", MEADOW, seed=0)
    (run.store.folder / f"{name_of_video(MEADOW, 0)}.json.part").mkdir()
    finished = read(run, is_finished)[-1]
    assert finished.session_file is None and pictures_of(finished) == list(range(16))
    assert finished.not_kept[0].startswith("The session file")


@pytest.mark.slow
def test_who_does_not_listen_loses_the_oldest_only_and_nobody_else_notices(make_engine) -> None:
    engine = make_engine(buffer_ahead_s=99, max_video_s=52, disconnect_timeout_s=99, no_player_timeout_s=99)
    ada, bob = (engine.start(name, MEADOW, seed=0) for name in ("ada", "bob"))
    words = read(bob, is_finished, timeout=60)
    wait_for(lambda: ada.status == "finished", timeout=60)
    kept = read(ada, is_finished)
    assert len(kept) <= KEPT_EVENTS
    # RunStarted, 71 segments and RunFinished; bob's follower read them all in time
    assert figures(engine.metrics)["longlive_dropped_messages_total"] == 73 - KEPT_EVENTS
    chunks = [word.segment.index for word in kept if isinstance(word, SegmentEvent)]
    assert chunks == list(range(70 - len(chunks), 70)), "the newest are there, in order"
    assert len([word for word in words if isinstance(word, SegmentEvent)]) == 71
    assert pictures_of(kept[-1]) == list(range(52 * 16)), "the film has them all"


def test_who_comes_back_before_the_story_rests_sees_it_go_on(make_engine) -> None:
    engine = make_engine(FakeModels(chunk_s=0.4), buffer_ahead_s=99)
    run = engine.start("ada", MEADOW, seed=0)
    read(run, is_segment(0))
    run.suspend()
    assert run.status == "running", "it is suspended at the next chunk boundary"
    assert engine.claim("ada", run.token) is run
    words = read(run, is_segment(4))
    assert codes(words) == ["resumed_exact"]
    assert [segment.index for segment in segments(words)][-4:] == [1, 2, 3, 4]


def test_who_was_away_for_long_is_not_taken_for_silent_at_once(make_engine) -> None:
    engine = make_engine(buffer_ahead_s=99, disconnect_timeout_s=0.3, heartbeat_timeout_s=1.5)
    run = engine.start("ada", MEADOW, seed=0)
    read(run, is_segment(0))
    run.playhead(0.1, playing=True)
    wait_for(lambda: run.status == "suspended" and run.presence.silent_s > 1.6)
    assert engine.claim("ada", run.token) is run
    words = read(run, is_segment(run.num_chunks))
    begun = time.monotonic()
    while time.monotonic() - begun < 0.5:
        words += drain(run)
        time.sleep(0.01)
    assert run.status == "running" and "player_silent" not in codes(words)


def test_who_follows_a_story_that_is_forgotten_is_told(make_engine) -> None:
    forgotten = []
    engine = make_engine(heartbeat_timeout_s=0.2, retention_s=0.3)
    engine.on_forget(forgotten.append)
    run = engine.start("ada", MEADOW, seed=0)
    run.playhead(0.0, playing=False)
    finished = read(run, is_finished)[-1]
    assert finished.reason == "expired" and finished.video is None
    wait_for(lambda: forgotten == [run])
    assert run.status == "finished" and len(unfinished(engine)) == 0 and not run.store.folder.exists()


def test_a_story_that_cannot_end_well_ends_all_the_same(make_engine, monkeypatch) -> None:
    monkeypatch.setattr(supervisor, "write_files", lambda store: 1 / 0)
    engine = make_engine(max_video_s=1, buffer_ahead_s=99)
    run = engine.start("ada", MEADOW, seed=0)
    finished = read(run, is_finished)[-1]
    assert finished.reason == "failed" and finished.failure.detail == "ZeroDivisionError"
    wait_for(lambda: run.status == "finished")


def test_a_watch_that_stumbles_goes_on(make_engine, monkeypatch) -> None:
    engine = make_engine()
    failures = [RuntimeError("no figures")] * 3
    plain = engine.executor.capacity

    def capacity() -> int:
        if failures:
            raise failures.pop()
        return plain()

    monkeypatch.setattr(engine.executor, "capacity", capacity)
    wait_for(lambda: not failures)
    read(engine.start("ada", MEADOW, seed=0), is_segment(2))


@pytest.mark.parametrize("hours", [1, -1])
def test_a_wall_clock_that_jumps_changes_nothing(make_engine, monkeypatch, hours) -> None:
    engine = make_engine(max_video_s=8, buffer_ahead_s=99)
    run = engine.start("ada", MEADOW, seed=0)
    words = read(run, is_segment(3))
    plain = time.time
    monkeypatch.setattr(time, "time", lambda: plain() + hours * 3600)
    words += read(run, is_finished)
    assert not codes(words) and pictures_of(words[-1]) == list(range(8 * 16))


@pytest.mark.parametrize("seconds", [60, 3600])
def test_a_machine_that_slept_lets_its_stories_rest_or_ends_them_in_words(
    make_engine, monkeypatch, seconds
) -> None:
    engine = make_engine(FakeModels(chunk_s=0.1), buffer_ahead_s=99)
    run = engine.start("ada", MEADOW, seed=0)
    words = read(run, is_segment(3))
    run.playhead(0.2, playing=True)
    plain = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: plain() + seconds)
    wait_for(lambda: run.status == "suspended")
    assert engine.playhead(run.token, 0.3, True)
    words += read(run, is_segment(run.num_chunks + 3) if seconds < 1800 else is_finished)
    frames = [word.segment.first_frame for word in words if isinstance(word, SegmentEvent)]
    assert frames == [0, 1, *range(9, frames[-1] + 1, 12)], "no gap, and nothing twice"
    if seconds > 1800:
        assert words[-1].reason == "max_duration" and pictures_of(words[-1]) == list(
            range(9 + 12 * (len(frames) - 2))
        )


def test_a_viewer_who_stands_still_does_so_for_the_next_executor_too(make_engine) -> None:
    run = make_engine(buffer_ahead_s=1.5).start("ada", MEADOW, seed=0)
    read(run, is_segment(1))
    run.playhead(0.5, playing=True)
    assert run.build_job(exact=True).playhead.playing
    run.playhead(0.5, playing=False)
    assert run.build_job(exact=True).playhead == Playhead(0.5, playing=False)


@pytest.mark.parametrize("words", [[1e12], [1e12, 0.0], [-1e12, 1e300], [math.nan], [math.inf, -math.inf]])
@pytest.mark.slow
def test_a_player_that_says_anything_gets_no_more_than_can_be_seen(make_engine, words) -> None:
    engine = make_engine(buffer_ahead_s=1.5)
    run = engine.start("ada", MEADOW, seed=0)
    read(run, is_segment(0))
    begun = time.monotonic()
    for word in itertools.cycle(words):
        run.playhead(word, playing=True)
        drain(run)
        if (passed := time.monotonic() - begun) > 2.0:
            break
        time.sleep(0.05)
    assert run.status == "running" and run.end_s <= passed + MAX_LEAP_S + 1.5 + 2 * 0.75
    assert run.num_chunks >= 2


def test_a_run_that_was_found_knows_where_its_viewer_can_have_been(tmp_path) -> None:
    engine = fakes.make_engine(folder=tmp_path, buffer_ahead_s=99, max_video_s=40, no_player_timeout_s=99)
    run = engine.start("ada", MEADOW, seed=3)
    read(run, is_segment(50))
    engine.close()
    again = fakes.make_engine(folder=tmp_path, buffer_ahead_s=1.5)
    found = again.claim("ada", run.token)
    made, end_s = found.num_chunks, found.end_s
    assert end_s > 37
    again.playhead(run.token, end_s - 0.5, True)
    read(found, is_segment(made + 1))
    again.close()
