"""Where stories are made: how many there is room for, in whose turn, and how a story goes on."""

import dataclasses
import threading
import time

import pytest

from longlive.serving.executors.events import ChunkCheckpoint, Finished, SegmentEvent
from longlive.serving.executors.job import Job, ResumeState
from longlive.serving.executors.messages import Prompt
from longlive.serving.executors.model_runner import MAX_UTILIZATION, ModelRunner, open_session
from longlive.serving.executors.thread import WARM_UP_JOB, ThreadExecutor
from longlive.serving.limits import Limits
from tests.support.fakes import FakeModels, FakeSession


def studio_with(turn_s: float, rest_s: float, streams: int = 99) -> ModelRunner:
    runner = ModelRunner(FakeModels(streams=streams), open_session=FakeSession)
    runner._turn_s.extend([turn_s] * 8)
    for _ in range(8):
        runner.record_render_time(rest_s)
    return runner


@pytest.mark.parametrize(
    "turn_s, rest_s, streams, room",
    [
        (0.1, 0.08, 99, 4),  # 0.75 s of video in 0.18 s
        (0.1, 0.08, 3, 3),  # there is memory for three
        (0.5, 0.5, 99, 1),  # slower than real time: one may try
        (0.01, 0.0, 99, int(MAX_UTILIZATION * 75)),  # turns fill no more than their share
    ],
)
def test_there_is_room_for_as_many_as_the_measured_speed_feeds(turn_s, rest_s, streams, room) -> None:
    assert studio_with(turn_s, rest_s, streams).capacity() == room


def test_a_slow_moment_does_not_close_the_house_but_slow_turns_do() -> None:
    runner = studio_with(0.1, 0.04)
    assert runner.capacity() == 5
    runner._turn_s.extend([0.3] * 3)
    assert runner.capacity() == 5
    runner._turn_s.extend([0.3] * 12)
    assert runner.capacity() == int(MAX_UTILIZATION * 0.75 / 0.3)


def test_the_load_of_its_own_viewers_does_not_close_the_house() -> None:
    runner = ModelRunner(FakeModels(chunk_s=0.08, decode_s=0.05, streams=99), open_session=FakeSession)
    runner.warm_up(WARM_UP_JOB)
    alone = runner.capacity()
    runner._turn_s.extend([0.15] * 99)
    for _ in range(99):
        runner.record_render_time(0.3)  # drawing takes longer, since others are drawn for beside it
    assert runner.capacity() == alone
    runner.models.smaller = lambda models: FakeModels(streams=99)
    assert runner.downgrade(None) and runner.capacity() < alone, (
        "what was measured before it shrank counts no more"
    )


def test_a_studio_that_has_measured_nothing_takes_one() -> None:
    assert ModelRunner(FakeModels(), open_session=FakeSession).capacity() == 1


def test_after_the_warm_up_it_knows_its_room_and_holds_no_session() -> None:
    models = FakeModels(chunk_s=0.08, decode_s=0.05)
    executor = ThreadExecutor(ModelRunner(models, open_session=FakeSession))
    executor.warm_up()
    assert 1 < executor.capacity() <= 4 and models.open_now == 0


def story(num_chunks: int, past: ResumeState | None = None, **limits: float) -> Job:
    max_video_s = (1 + 4 * (3 * num_chunks - 1)) / 16
    prompts = (Prompt("a red ball", chunk=0),) if past is None else ()
    return Job(
        name="x",
        seed=7,
        prompts=prompts,
        limits=Limits(buffer_ahead_s=99, max_video_s=max_video_s),
        resume=past,
    )


def past_of(kept: list[ChunkCheckpoint], num_frames: int) -> ResumeState:
    told = {"prompts": (kept[0].event,), "chunks": tuple(one.digest for one in kept)}
    record = dataclasses.replace(kept[0].record, **told)
    return ResumeState(record, tuple(one.latents for one in kept), num_frames, exact=True)


def test_an_order_with_a_past_goes_on_with_it(tiny_models) -> None:
    """The whole way, with the real session: latents and pictures are those of one uninterrupted story."""
    executor = ThreadExecutor(ModelRunner(tiny_models))
    *whole, ended = executor.start(story(6)).events()
    assert isinstance(ended, Finished) and ended.failure is None
    *first, _ = executor.start(story(3)).events()
    kept = [shot.checkpoint for shot in first if isinstance(shot, SegmentEvent) and shot.checkpoint]
    past = past_of(kept, 33)
    *second, _ = executor.start(story(6, past)).events()
    digests = [shot.checkpoint.digest for shot in (*first, *second) if shot.checkpoint]
    assert digests == [shot.checkpoint.digest for shot in whole if shot.checkpoint]
    assert [shot.segment.data for shot in (*first, *second)] == [shot.segment.data for shot in whole]


def test_going_on_lets_others_have_their_turns(tiny_models) -> None:
    runner = ModelRunner(tiny_models)
    executor = ThreadExecutor(runner)
    *shots, _ = executor.start(story(8)).events()
    kept = [shot.checkpoint for shot in shots if shot.checkpoint]
    past = past_of(kept, 93)
    order: list[str] = []
    plain = runner._lock.hold

    def noted(deadline: float):
        order.append("turn")
        return plain(deadline)

    runner._lock.hold = noted  # type: ignore[method-assign]
    session = open_session(tiny_models, story(9, past), lambda: runner._lock.hold(time.monotonic()))
    assert order == ["turn"] * 8, "one for each pass"
    session.close()


def test_two_runs_never_hold_the_model_at_once() -> None:
    models = FakeModels(chunk_s=0.02)
    executor = ThreadExecutor(ModelRunner(models, open_session=FakeSession))
    threads = [threading.Thread(target=lambda: list(executor.start(story(5)).events())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert models.most_busy == 1 and models.open_now == 0 and WARM_UP_JOB.seed == 0
