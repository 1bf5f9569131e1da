"""What an engine's metrics and log say of what happens in it."""

import logging
import time
from collections.abc import Callable, Iterator

import pytest

from longlive.errors import MediaError, PromptError
from longlive.generation.storyboard import Scene
from longlive.serving.engine import Engine
from longlive.serving.executors.events import SegmentEvent
from longlive.serving.executors.model_runner import ModelRunner
from longlive.serving.limits import Limits
from tests.support import fakes
from tests.support.fakes import FakeModels, LosingExecutor, with_less_memory
from tests.support.metrics_reader import figures
from tests.support.run_reader import is_finished, is_segment, read, wait_for

MEADOW, JUMP = "a red ball stands on a green meadow", "the red ball jumps on a green meadow"


@pytest.fixture
def make_engine() -> Iterator[Callable[..., Engine]]:
    engines: list[Engine] = []

    def make(models: FakeModels | None = None, **limits: float) -> Engine:
        engines.append(fakes.make_engine(models, **limits))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The lines about runs so far, without their names."""
    caplog.set_level(logging.DEBUG)
    told = "longlive.serving.run_logger"
    return lambda: [one.getMessage().split(": ", 1)[1] for one in caplog.records if one.name == told]


def counted(engine: Engine) -> dict[str, float]:
    """The counters of this engine that are not 0."""
    seen = figures(engine.metrics)
    return {
        name.removeprefix("longlive_"): value
        for name, value in seen.items()
        if "_total" in name and value > 0
    }


def settled(engine: Engine, name: str, value: float = 1) -> None:
    """Wait until a counter has come to a value: the last word to the viewer may be a moment ahead of it."""
    wait_for(lambda: counted(engine).get(name) == value)


def test_a_story_that_comes_to_its_length(make_engine, log, caplog) -> None:
    engine = make_engine(max_video_s=3.0, buffer_ahead_s=99)
    read(engine.start("ada", MEADOW, seed=7, script=[Scene(1.0, JUMP)]), is_finished)
    settled(engine, "runs_ended_total{reason=complete}")
    seen = figures(engine.metrics)
    assert seen["longlive_runs_started_total"] == 1 and seen["longlive_pictures_total"] == 48
    assert seen["longlive_chunk_seconds_count"] == 5
    assert log() == [
        "started, seed 7, 35 characters, thread executor, model 'test cards'",
        "ended (complete) after 3.00 s of video: complete",
    ]
    assert MEADOW not in caplog.text and JUMP not in caplog.text


def test_a_prompt_and_a_stop(make_engine, log) -> None:
    engine = make_engine()
    run = engine.start("ada", MEADOW, seed=7)
    read(run, is_segment(1))
    promise = run.prompt(JUMP, "hard")
    with pytest.raises(PromptError):
        run.prompt("")
    read(run, is_segment(promise.chunk))
    run.stop("user")
    read(run, is_finished)
    settled(engine, "runs_ended_total{reason=stopped}")
    assert counted(engine)["prompts_total{switch=hard}"] == 1
    assert counted(engine)["prompts_refused_total"] == 1
    assert log()[1] == f"prompt switch (hard) at chunk {promise.chunk}, 36 characters"
    assert log()[2].startswith("ended (stopped)") and log()[2].endswith(": user") and len(log()) == 3


@pytest.mark.parametrize(
    "models, kind",
    [
        (FakeModels(break_at=2), "model"),
        (FakeModels(out_of_memory=[("denoise", 2)]), "memory"),
    ],
)
def test_a_story_that_breaks_says_what_broke(make_engine, log, models: FakeModels, kind: str) -> None:
    engine = make_engine(models, buffer_ahead_s=99)
    read(engine.start("ada", MEADOW, seed=7), is_finished)
    settled(engine, "runs_ended_total{reason=failed}")
    assert counted(engine)[f"failures_total{{kind={kind}}}"] == 1
    assert log()[1].startswith(f"{kind} failed at chunk 2: ") and log()[2].startswith(
        "ended (failed) after 1.31 s"
    )


def test_memory_that_ran_out_is_counted_also_when_the_story_went_on(make_engine) -> None:
    engine = make_engine(
        FakeModels(smaller=with_less_memory, out_of_memory=[("denoise", 2)]),
        max_video_s=3.0,
        buffer_ahead_s=99,
    )
    read(engine.start("ada", MEADOW, seed=7), is_finished)
    settled(engine, "runs_ended_total{reason=complete}")
    assert counted(engine)["failures_total{kind=memory}"] == 1


def test_a_lost_worker_and_how_the_story_went_on(log) -> None:
    runner = ModelRunner(FakeModels(), open_session=fakes.FakeSession)
    engine = Engine(LosingExecutor(runner, [2]), limits=Limits(max_video_s=3, buffer_ahead_s=99))
    read(engine.start("ada", MEADOW, seed=0), is_finished)
    settled(engine, "runs_ended_total{reason=complete}")
    assert counted(engine)["failures_total{kind=worker_lost}"] == 1
    assert counted(engine)["resumes_total{mode=exact}"] == 1
    assert log()[1] == "worker_lost failed at chunk 2: killed"
    assert log()[2] == "resumed (exact) at chunk 2: killed"
    engine.close()


def test_a_limit_and_a_closed_page_are_told_apart(make_engine, log) -> None:
    engine = make_engine(no_player_timeout_s=0.2)
    read(engine.start("ada", MEADOW, seed=0), is_finished)
    settled(engine, "runs_ended_total{reason=limit}")
    engine.start("bob", MEADOW, seed=0).stop("closed")
    settled(engine, "runs_ended_total{reason=abandoned}")
    assert [line.split(" after ")[0] for line in log() if line.startswith("ended")] == [
        "ended (limit)",
        "ended (abandoned)",
    ]


def test_a_viewer_who_goes_away_and_never_comes_back(make_engine, log) -> None:
    engine = make_engine(disconnect_timeout_s=0.1, retention_s=0.2)
    read(engine.start("ada", MEADOW, seed=0), is_segment(0))
    settled(engine, "runs_ended_total{reason=abandoned}")
    assert log()[1] == "suspended: viewer away; kept for 0 s"
    assert log()[2].endswith(": expired")


def test_a_full_disk_is_counted_and_the_story_goes_on(make_engine, log, monkeypatch) -> None:
    engine = make_engine(buffer_ahead_s=99, max_video_s=3)
    run = engine.start("ada", MEADOW, seed=0)

    def full(name: str, data: bytes) -> None:
        run.store.is_intact = False
        raise MediaError("No space left on device")

    read(run, is_segment(0))
    monkeypatch.setattr(run.store, "_append", full)
    read(run, is_finished)
    settled(engine, "failures_total{kind=disk}")
    assert "disk failed at chunk" in " ".join(log())


def test_status_and_gauges_follow_the_runs(make_engine) -> None:
    engine = make_engine(FakeModels(chunk_s=0.01, streams=1), disconnect_timeout_s=99)
    assert engine.status().running == engine.status().waiting == 0 and engine.status().fps == 0
    run = engine.start("ada", MEADOW, seed=0)
    read(run, is_segment(1))
    engine.start("bob", MEADOW, seed=0)
    status = engine.status()
    assert (status.running, status.waiting, status.suspended, status.capacity) == (1, 1, 0, 1)
    assert status.is_ready and status.is_alive
    assert (status.executor, status.model) == ("thread", "test cards")
    assert 0 < status.fps <= figures(engine.metrics)["longlive_pictures_total"]
    seen = figures(engine.metrics)
    gauges = [seen[f"longlive_{name}"] for name in ("sessions", "queue_length", "suspended", "capacity")]
    assert gauges == [1, 1, 0, 1] and seen["longlive_store_bytes"] > 0
    run.suspend()
    wait_for(lambda: engine.status().suspended == 1)


def test_without_a_scheduler_or_capacity_it_is_not_alive_and_while_warming_up_not_ready(make_engine) -> None:
    engine, seen = make_engine(), []
    runner = engine.executor.runner
    engine.executor.warm_up = lambda: seen.append(engine.status())
    engine.warm_up()
    assert not seen[0].is_ready and engine.status().is_ready
    engine.executor.capacity = lambda: 0
    assert not engine.status().is_alive
    engine.executor.capacity = runner.capacity
    assert engine.status().is_alive
    engine.close()
    assert not engine.status().is_alive


def test_what_the_player_shows_is_timed_and_its_stalls_are_counted_once(make_engine) -> None:
    engine = make_engine()
    run = engine.start("ada", MEADOW, seed=0)
    read(run, is_segment(1))
    engine.playhead(run.token, 0.0, True)
    assert figures(engine.metrics)["longlive_first_picture_seconds_count"] == 0
    engine.playhead(run.token, 0.1, True)
    engine.playhead(run.token, 0.2, True)
    assert figures(engine.metrics)["longlive_first_picture_seconds_count"] == 1
    sent = time.monotonic()
    promise = run.prompt(JUMP)
    engine.playhead(run.token, promise.at_seconds - 0.01, True)
    assert figures(engine.metrics)["longlive_prompt_to_picture_seconds_count"] == 0
    engine.playhead(run.token, promise.at_seconds + 0.01, True, stalls=2)
    engine.playhead(run.token, promise.at_seconds + 0.02, True, stalls=2)
    seen = figures(engine.metrics)
    assert seen["longlive_prompt_to_picture_seconds_count"] == 1
    assert 0 < seen["longlive_prompt_to_picture_seconds_sum"] <= time.monotonic() - sent
    assert seen["longlive_stalls_total"] == 2


def test_events_that_no_follower_read_are_counted(make_engine) -> None:
    engine = make_engine()
    run = engine.start("ada", MEADOW, seed=0)
    shot = next(word for word in read(run, is_segment(0)) if isinstance(word, SegmentEvent))
    for _ in range(70):
        run.emit(shot)
    assert counted(engine)["dropped_messages_total"] >= 6
