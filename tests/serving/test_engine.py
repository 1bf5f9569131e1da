"""Runs on the engine: paced, promised, one at a time, and gone without a trace."""

import dataclasses
import io
import json
import resource
import threading
import time
from collections.abc import Callable, Iterator

import av
import numpy as np
import pytest
from PIL import Image

from longlive.errors import BusyError, ConfigError, LostError, PromptError
from longlive.generation.storyboard import Scene
from longlive.serving.engine import Engine
from longlive.serving.executors.events import Failure, NoticeEvent, Preempted, SegmentEvent
from longlive.serving.executors.model_runner import ModelRunner, open_session
from longlive.serving.executors.thread import ThreadExecutor
from longlive.serving.limits import Limits
from longlive.serving.runs.events import QueuePosition
from tests.support import fakes
from tests.support.fakes import FakeModels, LosingExecutor, read_card, with_less_memory
from tests.support.pictures import transport_counters
from tests.support.run_reader import (
    codes,
    drain,
    is_finished,
    is_segment,
    read,
    run_of,
    segments,
    unfinished,
    wait_for,
)

MEADOW, JUMP = "a red ball stands on a green meadow", "the red ball jumps on a green meadow"


@pytest.fixture(params=[False, True], ids=["in turn", "overlapped"])
def make_engine(request: pytest.FixtureRequest) -> Iterator[Callable[..., Engine]]:
    engines: list[Engine] = []

    def make(models: FakeModels | None = None, **limits: float) -> Engine:
        engines.append(fakes.make_engine(models, overlap=request.param, **limits))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()
        assert models_of(engine).open_now == 0, "a session was left open"


def models_of(engine: Engine) -> FakeModels:
    return engine.executor.runner.models


def test_the_segment_that_ends_a_chunk_has_the_thumbnail_of_its_middle(make_engine) -> None:
    run = make_engine(max_video_s=3.0, buffer_ahead_s=99).start("ada", MEADOW, seed=7)
    shots = segments(read(run, is_finished))
    assert [bool(shot.thumbnail) for shot in shots] == [False, True, True, True, True, True]
    for shot in shots[1:]:
        with Image.open(io.BytesIO(shot.thumbnail)) as image:
            card = read_card(np.asarray(image.convert("RGB")))
        assert card == (shot.first_frame + shot.num_frames // 2, 0)


def test_a_run_makes_its_story_and_leaves_a_take_and_a_session_file(make_engine) -> None:
    run = make_engine(max_video_s=3.0, buffer_ahead_s=99).start("ada", MEADOW, seed=7)
    *shots, finished = read(run, is_finished)
    assert [shot.segment.index for shot in shots] == [0, 0, 1, 2, 3, 4]
    assert json.loads(finished.session_file.read_text())["seed"] == 7
    with av.open(str(finished.video)) as take:
        cards = [read_card(picture.to_ndarray(format="rgb24")) for picture in take.decode(video=0)]
    assert cards == [(number, 0) for number in range(48)]


def test_the_first_picture_is_out_before_the_others_of_its_chunk_are_decoded(make_engine) -> None:
    run = make_engine(FakeModels(chunk_s=0.01, decode_s=0.3)).start("ada", MEADOW, seed=0)
    first, begun = read(run, is_segment(0))[-1].segment, time.monotonic()
    assert (first.first_frame, first.num_frames, first.ends_chunk) == (0, 1, False)
    assert run.start_of(1) == 9 / 16, "the chunk is counted when it is whole"
    rest = read(run, is_segment(0))[-1].segment
    assert time.monotonic() - begun > 0.2
    assert (rest.first_frame, rest.num_frames, rest.ends_chunk) == (1, 8, True)
    assert read(run, is_segment(1))[-1].segment.first_frame == 9


def test_a_hls_stream_gets_whole_chunks(make_engine) -> None:
    run = make_engine(buffer_ahead_s=99, max_video_s=1).start("ada", MEADOW, seed=0, container="ts")
    *shots, _ = read(run, is_finished)
    assert [shot.segment.num_frames for shot in shots] == [9, 7]


def test_the_counters_of_a_hls_stream_go_on_through_a_suspension_and_a_restart(tmp_path) -> None:
    engine = fakes.make_engine(FakeModels(chunk_s=0.01), folder=tmp_path, buffer_ahead_s=99)
    run = engine.start("ada", MEADOW, seed=0, container="ts")
    read(run, is_segment(2))
    run.suspend()
    wait_for(lambda: run.status == "suspended")
    engine.claim("ada", run.token)
    read(run, is_segment(5))
    engine.close()
    again = fakes.make_engine(FakeModels(chunk_s=0.01), folder=tmp_path, buffer_ahead_s=99)
    found = again.claim("ada", run.token)
    num_chunks = found.num_chunks
    read(found, is_segment(num_chunks + 1))
    found.stop("user")
    read(found, is_finished)
    stored = b"".join(segment.data for segment in found.store.segments())
    assert found.num_chunks >= num_chunks + 2 and transport_counters(stored).keys() >= {0, 0x100, 0x1000}
    for pid, values in transport_counters(stored).items():
        assert values == [number % 16 for number in range(len(values))], f"PID {pid}"
    again.close()


def test_a_run_never_goes_far_beyond_the_playhead(make_engine) -> None:
    begun = time.monotonic()
    run = make_engine(buffer_ahead_s=1.5).start("ada", MEADOW, seed=0)
    read(run, is_segment(0))
    run.playhead(0.0, playing=False)
    assumed_s = time.monotonic() - begun  # until its first word, the player is taken to play
    time.sleep(0.4)
    drain(run)
    assert run.seconds_until(99.0) == 99.0
    assert 0.5 < run.prompt_delay() <= 1.55 + assumed_s
    run.playhead(2.0, playing=False)
    reports = read(run, is_segment(3))
    assert all(isinstance(report, SegmentEvent) for report in reports)


def test_no_more_runs_go_on_at_once_than_there_is_memory_for(make_engine) -> None:
    engine = make_engine(FakeModels(chunk_s=0.001, streams=1))
    read(engine.start("ada", MEADOW, seed=0), is_segment(2), timeout=60)
    waiting = engine.start("bob", MEADOW, seed=0)
    event = read(waiting, lambda event: isinstance(event, QueuePosition), timeout=60)[-1]
    assert event.position == waiting.lifecycle.queue_position == 1


def test_a_promise_names_the_chunk_and_second_where_the_prompt_is_seen(make_engine) -> None:
    run = make_engine(FakeModels(chunk_s=0.1)).start("ada", MEADOW, seed=0)
    read(run, is_segment(1))
    first, second = run.prompt(JUMP), run.prompt("a blue cube", "hard")
    assert second.chunk == first.chunk + 1
    shots = {
        report.segment.index: report.segment for report in read(run, is_segment(second.chunk)) if is_segment
    }
    assert shots[first.chunk].prompt == JUMP and shots[second.chunk].prompt == "a blue cube"
    assert shots[first.chunk].first_frame / 16 == pytest.approx(first.at_seconds)
    assert 0 < first.in_seconds < 2.5
    assert run.prompts.upcoming == []


def test_a_story_changes_at_its_seconds_and_gives_way_to_the_viewers_own_prompt(make_engine) -> None:
    script = [Scene(1.0, JUMP), Scene(30.0, "a blue cube")]
    run = make_engine(buffer_ahead_s=99, max_video_s=4).start("ada", MEADOW, seed=0, script=script)
    shots = [report.segment for report in read(run, is_finished) if isinstance(report, SegmentEvent)]
    assert next(shot.first_frame for shot in shots if shot.prompt == JUMP) == 21
    run = make_engine().start("ada", MEADOW, seed=0, script=script)
    run.prompt("snow")
    assert [prompt.text for prompt in run.prompts.upcoming] == ["snow"]


def test_a_prompt_whose_end_is_not_read_is_said_once(make_engine) -> None:
    run = make_engine(max_video_s=3, buffer_ahead_s=99).start("ada", "a ball " * 200, seed=0)
    assert codes(read(run, is_finished)) == ["prompt_truncated"]


def test_too_many_or_unusable_prompts_are_refused_and_the_video_goes_on(make_engine) -> None:
    run = make_engine().start("ada", MEADOW, seed=0)
    read(run, is_segment(0))
    run.playhead(0.0, playing=False)
    for text in ("", "   ", "x" * 10_000, "a \x07 ball"):
        with pytest.raises(PromptError):
            run.prompt(text)
    for number in range(8):
        run.prompt(f"prompt {number}")
    with pytest.raises(PromptError, match="8 prompts are waiting"):
        run.prompt("one more")
    run.playhead(10.0, playing=True)
    read(run, is_segment(5))


def test_a_new_start_ends_the_viewers_old_run_and_only_one_works_on_the_model(make_engine) -> None:
    models = FakeModels(chunk_s=0.1)
    engine = make_engine(models)
    old = engine.start("ada", MEADOW, seed=0)
    new = engine.start("ada", JUMP, seed=0)
    assert run_of(engine, "ada") is new
    assert read(old, is_finished)[-1].reason == "replaced"
    read(new, is_segment(1))
    assert models.most_busy == 1


def test_a_second_viewer_waits_in_words_then_starts_by_itself(make_engine) -> None:
    engine = make_engine(FakeModels(chunk_s=0.5))
    first = engine.start("ada", MEADOW, seed=0)
    second = engine.start("bob", JUMP, seed=0)
    notice = read(second, lambda report: True)[0]
    assert isinstance(notice, QueuePosition) and notice.position == 1 and 290 < notice.wait_s <= 300
    first.stop("user")
    assert read(second, is_segment(0))[-1].segment.prompt == JUMP


def test_two_viewers_play_at_once_when_the_model_is_fast_enough(make_engine) -> None:
    engine = make_engine()
    first = engine.start("ada", MEADOW, seed=0)
    read(first, is_segment(0))
    second = engine.start("bob", JUMP, seed=0)
    read(second, is_segment(2))
    read(first, is_segment(2))
    assert models_of(engine).most_busy == 1


def test_a_full_line_is_told_in_words(make_engine) -> None:
    engine = make_engine(FakeModels(chunk_s=0.5), max_queue_size=1)
    read(engine.start("ada", MEADOW, seed=0), is_segment(0))
    engine.start("bob", MEADOW, seed=0)
    with pytest.raises(BusyError, match="queue is full \\(1 wait"):
        engine.start("eve", MEADOW, seed=0)
    engine.start("bob", JUMP, seed=0)


def test_one_address_has_only_so_many_runs(make_engine) -> None:
    engine = make_engine(max_runs_per_address=2)
    for name in ("ada", "bob"):
        engine.start(name, MEADOW, seed=0, address="10.0.0.1")
    with pytest.raises(BusyError, match="your address"):
        engine.start("eve", MEADOW, seed=0, address="10.0.0.1")
    engine.start("eve", MEADOW, seed=0, address="10.0.0.2")
    engine.start("ada", JUMP, seed=0, address="10.0.0.1")


def test_stop_during_the_first_chunk_ends_after_it(make_engine) -> None:
    run = make_engine(FakeModels(open_s=0.3)).start("ada", MEADOW, seed=0)
    time.sleep(0.1)
    run.stop("user")
    *shots, finished = read(run, is_finished)
    assert [shot.segment.num_frames for shot in shots] == [1, 8]
    assert (finished.reason, finished.failure) == ("user", None)


def test_a_closed_run_leaves_no_thread_no_session_and_no_file(make_engine) -> None:
    engine = make_engine()
    run = engine.start("ada", MEADOW, seed=0)
    read(run, is_segment(1))
    run.stop("closed")
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and "longlive-run" in [thread.name for thread in threading.enumerate()]:
        time.sleep(0.01)
    assert "longlive-run" not in [thread.name for thread in threading.enumerate()]
    assert not run.store.folder.exists() and run_of(engine, "ada") is None and models_of(engine).open_now == 0


@pytest.mark.parametrize(
    "field, reason", [("no_player_timeout_s", "no_player"), ("max_duration_s", "max_duration")]
)
def test_a_run_that_nobody_watches_or_that_is_too_long_ends_by_itself(make_engine, field, reason) -> None:
    finished = read(make_engine(**{field: 0.3}).start("ada", MEADOW, seed=0), is_finished)[-1]
    assert finished.reason == reason and finished.video is not None


def test_a_player_that_falls_silent_lets_the_story_rest_and_its_word_wakes_it(make_engine) -> None:
    engine = make_engine(heartbeat_timeout_s=0.3)
    run = engine.start("ada", MEADOW, seed=0)
    read(run, is_segment(0))
    run.playhead(0.1, playing=True)
    notice = read(run, lambda event: isinstance(event, NoticeEvent))[-1]
    assert notice.code == "player_silent"
    wait_for(lambda: run.status == "suspended")
    assert models_of(engine).open_now == 0, "it holds no session while it rests"
    made = run.num_chunks
    assert engine.playhead(run.token, run.end_s, True)
    events = read(run, is_segment(made))
    assert codes(events) == ["welcome_back", "resumed_exact"]
    assert segments(events)[-1].index == made


def test_a_run_that_nobody_follows_rests_and_is_taken_up_by_its_token(make_engine) -> None:
    engine = make_engine(disconnect_timeout_s=0.2, buffer_ahead_s=99)
    run = engine.start("ada", MEADOW, seed=0)
    seen = read(run, is_segment(3))
    wait_for(lambda: run.status == "suspended")
    assert engine.claim("bob", "guess") is None
    assert engine.claim("ada again", run.token) is run and run_of(engine, "ada again") is run
    made = run.num_chunks
    seen += read(run, is_segment(made + 2))
    frames = [
        (shot.segment.first_frame, shot.segment.num_frames) for shot in seen if isinstance(shot, SegmentEvent)
    ]
    ends = [first + count for first, count in frames]
    assert [first for first, _ in frames] == [0, *ends[:-1]], "no picture is lost, and none comes twice"


def test_a_run_that_nobody_takes_up_is_forgotten(make_engine) -> None:
    engine = make_engine(disconnect_timeout_s=0.1, retention_s=0.1)
    run = engine.start("ada", MEADOW, seed=0)
    read(run, is_segment(1))
    wait_for(lambda: len(unfinished(engine)) == 0 and not run.store.folder.exists())
    assert engine.claim("ada", run.token) is None


def test_while_others_wait_the_longest_makes_way_after_a_warning(make_engine) -> None:
    engine = make_engine(FakeModels(chunk_s=0.4), contended_duration_s=1.5, warning_s=1.0)
    first = engine.start("ada", MEADOW, seed=0)
    read(first, is_segment(0))
    second = engine.start("bob", JUMP, seed=0)
    events = read(first, is_finished)
    assert codes(events) == ["contended_duration_soon"]
    assert events[-1].reason == "contended_duration" and events[-1].video is not None
    assert read(second, is_segment(0))[-1].segment.prompt == JUMP


def test_a_restarted_app_finds_the_runs(tmp_path) -> None:
    engine = fakes.make_engine(folder=tmp_path)
    run = engine.start("ada", MEADOW, seed=3, script=[Scene(1.0, "snow"), Scene(60.0, JUMP)])
    read(run, is_segment(4))
    with pytest.raises(ConfigError, match="another LongLive uses it"):
        fakes.make_engine(folder=tmp_path)
    engine.close()
    assert not any(run.token in path.read_text() for path in tmp_path.rglob("*.jsonl")), "no secret on disk"
    again = fakes.make_engine(folder=tmp_path)
    found = again.claim("ada", run.token)
    assert found is not None and found.seed == 3 and [one.text for one in found.prompts.upcoming] == [JUMP]
    made = found.num_chunks
    shots = [word.segment for word in read(found, is_segment(made)) if isinstance(word, SegmentEvent)]
    assert shots[-1].prompt == "snow" and made >= 5
    found.stop("user")
    finished = read(found, is_finished)[-1]
    with av.open(str(finished.video)) as take:
        cards = [read_card(picture.to_ndarray(format="rgb24"))[0] for picture in take.decode(video=0)]
    assert cards == list(range(len(cards))) and len(cards) >= 9 + 12 * made
    assert len(json.loads(finished.session_file.read_text())["chunks"]) == found.num_chunks
    again.close()
    last = fakes.make_engine(folder=tmp_path)
    assert last.claim("ada", run.token) is None, "a story that has ended is not taken up"
    last.close()


def test_a_picture_that_was_shown_before_its_worker_was_lost_does_not_come_twice() -> None:
    class LosingBetweenParts(ThreadExecutor):
        """Its first worker dies once the first picture is out, before the rest of that chunk."""

        has_lost = False

        def start(self, job):
            handle = super().start(job)
            plain = handle.events

            def events():
                for event in plain():
                    is_rest = isinstance(event, SegmentEvent) and event.segment.first_frame == 1
                    if is_rest and not self.has_lost:
                        self.has_lost = True
                        raise LostError("killed")
                    yield event

            handle.events = events
            return handle

    runner = ModelRunner(FakeModels(), open_session=fakes.FakeSession)
    engine = Engine(LosingBetweenParts(runner), limits=Limits(max_video_s=1, buffer_ahead_s=99))
    events = read(engine.start("ada", MEADOW, seed=0), is_finished)
    assert [segment.first_frame for segment in segments(events)] == [0, 1, 9]
    engine.close()


@pytest.mark.parametrize("losses", [[0], [3], [3, 3, 4]])
def test_a_lost_worker_s_story_goes_on_elsewhere(losses) -> None:
    models = FakeModels()
    engine = Engine(
        LosingExecutor(ModelRunner(models, open_session=fakes.FakeSession), losses),
        limits=Limits(max_video_s=4, buffer_ahead_s=99),
    )
    run = engine.start("ada", MEADOW, seed=0, script=[Scene(2.0, JUMP)])
    *words, finished = read(run, is_finished)
    frames = [
        (word.segment.first_frame, word.segment.prompt) for word in words if isinstance(word, SegmentEvent)
    ]
    assert frames == [(0, MEADOW), (1, MEADOW), (9, MEADOW), (21, MEADOW), (33, JUMP), (45, JUMP), (57, JUMP)]
    assert finished.failure is None and finished.video is not None and models.open_now == 0
    engine.close()


def test_a_worker_that_is_lost_again_and_again_ends_the_run_in_words() -> None:
    runner = ModelRunner(FakeModels(), open_session=fakes.FakeSession)
    engine = Engine(LosingExecutor(runner, [2] * 9), limits=Limits(buffer_ahead_s=99))
    finished = read(engine.start("ada", MEADOW, seed=0), is_finished)[-1]
    assert finished.reason == "failed" and finished.failure.kind == "worker_lost"
    assert finished.failure.detail == "killed (attempt 4)"
    assert finished.video is not None, "what was made is kept"
    engine.close()


class HastyExecutor(LosingExecutor):
    """It has no time for an exact replay: such a stream is over before it makes a chunk."""

    def start(self, job):
        handle = super().start(job)
        if job.resume is not None and job.resume.exact:
            handle.events = lambda: iter([Preempted("lease_over")])
        return handle


def test_a_story_that_cannot_be_taken_up_exactly_is_taken_up_quickly() -> None:
    executor = HastyExecutor(ModelRunner(FakeModels(), open_session=fakes.FakeSession), [3])
    engine = Engine(executor, limits=Limits(max_video_s=4, buffer_ahead_s=99))
    *words, finished = read(engine.start("ada", MEADOW, seed=0), is_finished)
    assert finished.failure is None and len([word for word in words if isinstance(word, SegmentEvent)]) == 7
    assert codes(words) == ["resumed_exact", "resumed_exact", "resumed_quick"]
    engine.close()


def test_prompts_come_at_a_humane_pace(make_engine) -> None:
    run = make_engine(prompts_per_minute=2, max_pending_prompts=99).start("ada", MEADOW, seed=0)
    run.prompt("snow"), run.prompt("rain")
    with pytest.raises(PromptError, match="within a minute"):
        run.prompt("hail")


def test_a_broken_model_is_told_in_words_and_the_next_run_works(make_engine) -> None:
    models = FakeModels(break_at=2)
    engine = make_engine(models)
    finished = read(engine.start("ada", MEADOW, seed=0), is_finished)[-1]
    assert finished.reason == "failed"
    assert finished.failure == Failure("model", "RuntimeError: the weights fell over", 2)
    models.break_at = None
    read(engine.start("ada", MEADOW, seed=0), is_segment(3))


@pytest.mark.parametrize("stage", ["open", "denoise", "remember", "decode"])
def test_when_the_memory_runs_out_the_story_goes_on_with_less_memory(make_engine, stage) -> None:
    fault = (stage, 0 if stage == "open" else 2)
    models = FakeModels(smaller=with_less_memory, out_of_memory=[fault])
    engine = make_engine(models, max_video_s=3.0, buffer_ahead_s=99)
    *reports, finished = read(engine.start("ada", MEADOW, seed=7), is_finished, timeout=60)
    assert codes(reports) == ["memory_downgraded"]
    assert finished.failure is None and models_of(engine).smaller is None and models.open_now == 0
    with av.open(str(finished.video)) as take:
        cards = [read_card(picture.to_ndarray(format="rgb24")) for picture in take.decode(video=0)]
    assert cards == [(number, 0) for number in range(48)], "no picture is lost, and none comes twice"


@pytest.mark.parametrize("smaller", [None, with_less_memory])
def test_when_nothing_smaller_helps_the_run_ends_in_words_and_the_next_works(make_engine, smaller) -> None:
    faults = [("denoise", 2)] * (1 if smaller is None else 2)
    engine = make_engine(models := FakeModels(smaller=smaller, out_of_memory=faults))
    finished = read(engine.start("ada", MEADOW, seed=0), is_finished, timeout=60)[-1]
    assert finished.reason == "failed" and finished.failure.kind == "memory"
    assert "memory ran out at chunk 2" in finished.failure.detail
    assert models.open_now == models_of(engine).open_now == 0
    read(engine.start("ada", MEADOW, seed=0), is_segment(3))


def test_the_memory_that_one_run_lacks_does_not_end_the_others(make_engine) -> None:
    shrunk: list[FakeModels] = []

    def once(models: FakeModels) -> FakeModels:
        shrunk.append(models)
        return dataclasses.replace(with_less_memory(models), out_of_memory=[])

    models = FakeModels(smaller=once)
    engine = make_engine(models, buffer_ahead_s=99, disconnect_timeout_s=99)
    ada, bob = (engine.start(name, MEADOW, seed=0) for name in ("ada", "bob"))
    read(ada, is_segment(2)), read(bob, is_segment(2))
    models.out_of_memory += [("decode", 16), ("decode", 16)]
    for run in (ada, bob):
        reports = read(run, is_segment(20), timeout=60)
        assert sum(isinstance(report, NoticeEvent) for report in reports) == 1
    assert shrunk == [models]


def test_a_full_disk_stops_the_take_but_not_the_stream(make_engine) -> None:
    run = make_engine(buffer_ahead_s=99, max_video_s=8).start("ada", MEADOW, seed=0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        reports = read(run, is_finished)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert codes(reports)[0] == "video_not_kept"
    assert len([report for report in reports if isinstance(report, SegmentEvent)]) == 12
    assert reports[-1].video is None
    assert [file.name for file in run.store.folder.glob("longlive-*.json")]


def test_only_the_token_moves_a_runs_playhead(make_engine) -> None:
    engine = make_engine()
    run = engine.start("ada", MEADOW, seed=0)
    assert not engine.playhead("guess", 1.0, True)
    assert engine.playhead(run.token, 1.0, True)


def test_the_real_session_fits_the_engine(tiny_models) -> None:
    """The doubles of this file keep the contract of ``longlive.generation.session``; this is the proof."""
    engine = fakes.make_engine(tiny_models, opener=open_session, buffer_ahead_s=99, max_video_s=2)
    engine.warm_up()
    run = engine.start("ada", "a red ball", seed=7, script=[Scene(1.0, "a blue cube", "hard")])
    *shots, finished = read(run, is_finished, timeout=60)
    assert [shot.segment.prompt for shot in shots] == ["a red ball"] * 3 + ["a blue cube"] * 2
    assert [shot.segment.first_frame for shot in shots] == [0, 1, 9, 21, 30]
    assert json.loads(finished.session_file.read_text())["seed"] == 7 and finished.video.exists()
    engine.close()


def test_a_story_with_an_unusable_prompt_is_refused_and_leaves_nothing(make_engine) -> None:
    engine = make_engine()
    with pytest.raises(PromptError, match="empty"):
        engine.start("ada", MEADOW, seed=0, script=[Scene(2.0, " ")])
    assert len(unfinished(engine)) == 0 and not [path for path in engine.folder.iterdir() if path.is_dir()]


def test_a_story_planned_far_ahead_is_taken_at_once(make_engine) -> None:
    """One of 1000 prompts a day ahead; others wait for the engine meanwhile."""
    engine = make_engine()
    begun = time.monotonic()
    run = engine.start("viewer", "a", seed=1, script=[Scene(86_400.0, "b", "soft")] * 1000)
    assert time.monotonic() - begun < 2
    assert run.prompts.upcoming[0].chunk == 115_201 and run.start_of(115_201) >= 86_400 > run.start_of(
        115_200
    )


def test_a_clean_end_leaves_unfinished_runs_alone_in_a_folder_that_is_kept(tmp_path) -> None:
    engine = fakes.make_engine(FakeModels(chunk_s=0.01), folder=tmp_path)
    going, over = (engine.start(name, MEADOW, seed=0) for name in ("ada", "bob"))
    read(going, is_segment(1))
    read(over, is_segment(1))
    over.stop("user")
    read(over, is_finished)
    engine.close()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [going.store.folder.name]


def test_an_engine_that_closes_says_whether_all_have_let_go_of_the_model(monkeypatch) -> None:
    quick = fakes.make_engine(FakeModels(chunk_s=0.01))
    read(quick.start("ada", MEADOW, seed=0), is_segment(0))
    assert quick.close() is True
    monkeypatch.setattr("longlive.serving.dispatcher.CLOSE_TIMEOUT_S", 0.1)
    slow = fakes.make_engine(FakeModels(chunk_s=2.0))
    run = slow.start("ada", MEADOW, seed=0)
    wait_for(lambda: run.status == "running" and slow.executor.runner.models.busy_now == 1)
    assert slow.close() is False
    wait_for(lambda: run.status != "running")


def test_a_run_that_arrived_with_another_one_is_admitted_before_those_who_wait(
    make_engine: Callable[..., Engine],
) -> None:
    engine = make_engine(FakeModels(streams=1), max_queue_size=2)
    first = engine.start("viewer", MEADOW, seed=7)
    wait_for(lambda: first.num_chunks > 0)
    waiting = engine.start("other", MEADOW, seed=7)
    following = engine.start("third", MEADOW, seed=7, arrived=first.lifecycle.arrived)
    wait_for(lambda: following.lifecycle.queue_position == 1)
    assert waiting.status is waiting.status.WAITING
    roomy = dataclasses.replace(engine.limits, max_queue_size=10)
    assert engine.start("fourth", MEADOW, seed=7, limits=roomy) is not None, "its own limits count"
    with pytest.raises(BusyError, match="The queue is full"):
        engine.start("fifth", MEADOW, seed=7)
