"""Runs on the engine: paced, promised, one at a time, and gone without a trace."""

import dataclasses
import json
import resource
import threading
import time
from collections.abc import Callable, Iterator

import av
import pytest

from longlive.errors import BusyError, ConfigError, LostError, PromptError
from longlive.generation.storyboard import Scene
from longlive.serving.engine import Engine
from longlive.serving.events import QueuePosition, RunEvent, RunFinished
from longlive.serving.executors.events import NoticeEvent, Preempted, SegmentEvent
from longlive.serving.executors.mailbox import MemoryMailbox
from longlive.serving.executors.messages import Playhead, Prompt, Stop
from longlive.serving.executors.model_runner import DeadlineLock, ModelRunner, open_session
from longlive.serving.executors.thread import ThreadExecutor
from longlive.serving.limits import Limits
from longlive.serving.run import Run
from tests.support import fakes
from tests.support.fakes import FakeModels, read_card

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
    return engine.carrier.studio.models


def read(run: Run, until: Callable[[RunEvent], bool], timeout: float = 10.0) -> list[RunEvent]:
    """All reports up to the first that ``until`` accepts."""
    reports: list[RunEvent] = []
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        report = run.next_report()
        if report is None:
            time.sleep(0.005)
            continue
        reports.append(report)
        if until(report):
            return reports
    raise AssertionError(f"not seen in {timeout} s; came: {[type(report).__name__ for report in reports]}")


def is_shot(index: int) -> Callable[[RunEvent], bool]:
    return lambda report: isinstance(report, SegmentEvent) and report.segment.index == index


def is_finished(report: RunEvent) -> bool:
    return isinstance(report, RunFinished)


def test_a_run_makes_its_story_and_leaves_a_take_and_a_session_file(make_engine) -> None:
    run = make_engine(video_s=3.0, ahead_s=99).start("ada", MEADOW, seed=7)
    *shots, finished = read(run, is_finished)
    assert [shot.segment.index for shot in shots] == [0, 0, 1, 2, 3, 4]
    assert json.loads(finished.session_file.read_text())["seed"] == 7
    with av.open(str(finished.take)) as take:
        cards = [read_card(picture.to_ndarray(format="rgb24")) for picture in take.decode(video=0)]
    assert cards == [(number, 0) for number in range(57)]


def test_the_first_picture_is_out_before_the_others_of_its_chunk_are_decoded(make_engine) -> None:
    run = make_engine(FakeModels(chunk_s=0.01, decode_s=0.3)).start("ada", MEADOW, seed=0)
    first, begun = read(run, is_shot(0))[-1].segment, time.monotonic()
    assert (first.first_frame, first.num_frames, first.ends_chunk) == (0, 1, False)
    assert run.start_of(1) == 9 / 16, "the chunk is counted when it is whole"
    rest = read(run, is_shot(0))[-1].segment
    assert time.monotonic() - begun > 0.2
    assert (rest.first_frame, rest.num_frames, rest.ends_chunk) == (1, 8, True)
    assert read(run, is_shot(1))[-1].segment.first_frame == 9


def test_a_hls_stream_gets_whole_chunks(make_engine) -> None:
    run = make_engine(ahead_s=99, video_s=1).start("ada", MEADOW, seed=0, container="ts")
    *shots, _ = read(run, is_finished)
    assert [shot.segment.num_frames for shot in shots] == [9, 12]


def test_a_run_never_goes_far_beyond_the_playhead(make_engine) -> None:
    begun = time.monotonic()
    run = make_engine(ahead_s=1.5).start("ada", MEADOW, seed=0)
    read(run, is_shot(0))
    run.playhead(0.0, playing=False)
    assumed_s = time.monotonic() - begun  # until its first word, the player is taken to play
    time.sleep(0.4)
    while run.next_report():
        pass
    assert run.seconds_until(99.0) == 99.0
    assert 0.5 < run.delay() <= 1.55 + assumed_s
    run.playhead(2.0, playing=False)
    reports = read(run, is_shot(3))
    assert all(isinstance(report, SegmentEvent) for report in reports)


def test_no_more_runs_go_on_at_once_than_there_is_memory_for(make_engine) -> None:
    engine = make_engine(FakeModels(chunk_s=0.001, streams=1))
    read(engine.start("ada", MEADOW, seed=0), is_shot(2), timeout=60)
    waiting = engine.start("bob", MEADOW, seed=0)
    told = read(waiting, lambda report: isinstance(report, QueuePosition), timeout=60)[-1]
    assert told.position == engine.place_of(waiting) == 1 and "You are next" in told.words


def test_a_promise_names_the_chunk_and_second_where_the_prompt_is_seen(make_engine) -> None:
    run = make_engine(FakeModels(chunk_s=0.1)).start("ada", MEADOW, seed=0)
    read(run, is_shot(1))
    first, second = run.prompt(JUMP), run.prompt("a blue cube", "hard")
    assert second.chunk == first.chunk + 1
    shots = {report.segment.index: report.segment for report in read(run, is_shot(second.chunk)) if is_shot}
    assert shots[first.chunk].prompt == JUMP and shots[second.chunk].prompt == "a blue cube"
    assert shots[first.chunk].first_frame / 16 == pytest.approx(first.at_seconds)
    assert 0 < first.in_seconds < 2.5
    assert run.waiting == []


def test_a_story_changes_at_its_seconds_and_gives_way_to_the_viewers_own_prompt(make_engine) -> None:
    script = [Scene(1.0, JUMP), Scene(30.0, "a blue cube")]
    run = make_engine(ahead_s=99, video_s=4).start("ada", MEADOW, seed=0, script=script)
    shots = [report.segment for report in read(run, is_finished) if isinstance(report, SegmentEvent)]
    assert next(shot.first_frame for shot in shots if shot.prompt == JUMP) == 21
    run = make_engine().start("ada", MEADOW, seed=0, script=script)
    run.prompt("snow")
    assert [prompt.text for prompt in run.waiting] == ["snow"]


def test_too_many_or_unusable_prompts_are_refused_and_the_video_goes_on(make_engine) -> None:
    run = make_engine().start("ada", MEADOW, seed=0)
    read(run, is_shot(0))
    run.playhead(0.0, playing=False)
    for text in ("", "   ", "x" * 10_000, "a \x07 ball"):
        with pytest.raises(PromptError):
            run.prompt(text)
    for number in range(8):
        run.prompt(f"prompt {number}")
    with pytest.raises(PromptError, match="8 prompts wait"):
        run.prompt("one more")
    run.playhead(10.0, playing=True)
    read(run, is_shot(5))


def test_a_new_start_ends_the_viewers_old_run_and_only_one_works_on_the_model(make_engine) -> None:
    models = FakeModels(chunk_s=0.1)
    engine = make_engine(models)
    old = engine.start("ada", MEADOW, seed=0)
    new = engine.start("ada", JUMP, seed=0)
    assert engine.run_of("ada") is new
    assert read(old, is_finished)[-1].reason == "A new story was started."
    read(new, is_shot(1))
    assert models.most_busy == 1


def test_a_second_viewer_waits_in_words_then_starts_by_itself(make_engine) -> None:
    engine = make_engine(FakeModels(chunk_s=0.5))
    first = engine.start("ada", MEADOW, seed=0)
    second = engine.start("bob", JUMP, seed=0)
    notice = read(second, lambda report: True)[0]
    assert isinstance(notice, QueuePosition) and notice.position == 1 and 290 < notice.wait_s <= 300
    first.stop("Stopped.")
    assert read(second, is_shot(0))[-1].segment.prompt == JUMP


def test_two_viewers_play_at_once_when_the_model_is_fast_enough(make_engine) -> None:
    engine = make_engine()
    first = engine.start("ada", MEADOW, seed=0)
    read(first, is_shot(0))
    second = engine.start("bob", JUMP, seed=0)
    read(second, is_shot(2))
    read(first, is_shot(2))
    assert models_of(engine).most_busy == 1


def test_a_full_line_is_told_in_words(make_engine) -> None:
    engine = make_engine(FakeModels(chunk_s=0.5), line=1)
    read(engine.start("ada", MEADOW, seed=0), is_shot(0))
    engine.start("bob", MEADOW, seed=0)
    with pytest.raises(BusyError, match="1 stories wait already"):
        engine.start("eve", MEADOW, seed=0)
    engine.start("bob", JUMP, seed=0)


def test_one_address_has_only_so_many_runs(make_engine) -> None:
    engine = make_engine(per_address=2)
    for name in ("ada", "bob"):
        engine.start(name, MEADOW, seed=0, address="10.0.0.1")
    with pytest.raises(BusyError, match="your address"):
        engine.start("eve", MEADOW, seed=0, address="10.0.0.1")
    engine.start("eve", MEADOW, seed=0, address="10.0.0.2")
    engine.start("ada", JUMP, seed=0, address="10.0.0.1")


def test_stop_during_the_first_chunk_ends_after_it(make_engine) -> None:
    run = make_engine(FakeModels(open_s=0.3)).start("ada", MEADOW, seed=0)
    time.sleep(0.1)
    run.stop("Stopped.")
    *shots, finished = read(run, is_finished)
    assert [shot.segment.num_frames for shot in shots] == [1, 8]
    assert (finished.reason, finished.failed) == ("Stopped.", False)


def test_a_closed_run_leaves_no_thread_no_session_and_no_file(make_engine) -> None:
    engine = make_engine()
    run = engine.start("ada", MEADOW, seed=0)
    read(run, is_shot(1))
    run.close()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and "longlive-run" in [thread.name for thread in threading.enumerate()]:
        time.sleep(0.01)
    assert "longlive-run" not in [thread.name for thread in threading.enumerate()]
    assert not run.folder.exists() and engine.run_of("ada") is None and models_of(engine).open_now == 0


@pytest.mark.parametrize(
    "field, reason", [("unwatched_s", "No player has spoken"), ("longest_s", "longest time")]
)
def test_a_run_that_nobody_watches_or_that_is_too_long_ends_by_itself(make_engine, field, reason) -> None:
    finished = read(make_engine(**{field: 0.3}).start("ada", MEADOW, seed=0), is_finished)[-1]
    assert reason in finished.reason and finished.take is not None


def wait_for(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)


def test_a_player_that_falls_silent_lets_the_story_rest_and_its_word_wakes_it(make_engine) -> None:
    engine = make_engine(idle_s=0.3)
    run = engine.start("ada", MEADOW, seed=0)
    read(run, is_shot(0))
    run.playhead(0.1, playing=True)
    notice = read(run, lambda word: isinstance(word, NoticeEvent))[-1]
    assert "silent" in notice.words
    wait_for(lambda: run.state == "resting")
    assert models_of(engine).open_now == 0, "it holds no session while it rests"
    made = run.num_chunks
    assert engine.playhead(run.token, run.end_s, True)
    words = read(run, is_shot(made))
    assert any("exactly where it was" in word.words for word in words if isinstance(word, NoticeEvent))
    assert [word.segment.index for word in words if isinstance(word, SegmentEvent)][-1:] == [made]


def test_a_run_that_nobody_follows_rests_and_is_taken_up_by_its_token(make_engine) -> None:
    engine = make_engine(away_s=0.2, ahead_s=99)
    run = engine.start("ada", MEADOW, seed=0)
    seen = read(run, is_shot(3))
    wait_for(lambda: run.state == "resting")
    assert engine.claim("bob", "guess") is None
    assert engine.claim("ada again", run.token) is run and engine.run_of("ada again") is run
    made = run.num_chunks
    seen += read(run, is_shot(made + 2))
    frames = [
        (shot.segment.first_frame, shot.segment.num_frames) for shot in seen if isinstance(shot, SegmentEvent)
    ]
    ends = [first + count for first, count in frames]
    assert [first for first, _ in frames] == [0, *ends[:-1]], "no picture is lost, and none comes twice"


def test_a_run_that_nobody_takes_up_is_forgotten(make_engine) -> None:
    engine = make_engine(away_s=0.1, grace_s=0.1)
    run = engine.start("ada", MEADOW, seed=0)
    read(run, is_shot(1))
    wait_for(lambda: engine.num_runs == 0 and not run.folder.exists())
    assert engine.claim("ada", run.token) is None


def test_while_others_wait_the_longest_makes_way_after_a_warning(make_engine) -> None:
    engine = make_engine(FakeModels(chunk_s=0.4), shared_s=1.5, warning_s=1.0)
    first = engine.start("ada", MEADOW, seed=0)
    read(first, is_shot(0))
    second = engine.start("bob", JUMP, seed=0)
    words = read(first, is_finished)
    assert [word.words[:12] for word in words if isinstance(word, NoticeEvent)] == ["Others wait:"]
    assert "had its time" in words[-1].reason and words[-1].take is not None
    assert read(second, is_shot(0))[-1].segment.prompt == JUMP


def test_the_wait_that_is_told_holds_when_there_are_fewer_seats_than_runs(make_engine, monkeypatch) -> None:
    engine = make_engine(FakeModels(chunk_s=0.01), shared_s=100.0)
    monkeypatch.setattr(engine.carrier, "room", lambda: 3)
    playing = [engine.start(name, MEADOW, seed=0) for name in "abc"]
    wait_for(lambda: engine.count("playing") == 3)
    now = time.monotonic()
    for run, played_s in zip(playing, (10.0, 20.0, 30.0), strict=True):
        run.played_s, run.changed = played_s, now
    assert [engine.wait_of(place) for place in (1, 2, 3, 4)] == pytest.approx([70, 80, 90, 170], abs=1.0)
    monkeypatch.setattr(engine.carrier, "room", lambda: 2)  # the first to go leaves no seat
    assert [engine.wait_of(place) for place in (1, 2, 3)] == pytest.approx([80, 90, 180], abs=1.0)


def test_a_restarted_app_finds_the_runs(tmp_path) -> None:
    engine = fakes.make_engine(folder=tmp_path)
    run = engine.start("ada", MEADOW, seed=3, script=[Scene(1.0, "snow"), Scene(60.0, JUMP)])
    read(run, is_shot(4))
    with pytest.raises(ConfigError, match="another LongLive works there"):
        fakes.make_engine(folder=tmp_path)
    engine.close()
    assert not any(run.token in path.read_text() for path in tmp_path.rglob("*.jsonl")), "no secret on disk"
    again = fakes.make_engine(folder=tmp_path)
    found = again.claim("ada", run.token)
    assert found is not None and found.seed == 3 and [one.text for one in found.waiting] == [JUMP]
    made = found.num_chunks
    shots = [word.segment for word in read(found, is_shot(made)) if isinstance(word, SegmentEvent)]
    assert shots[-1].prompt == "snow" and made >= 5
    found.stop("Stopped.")
    finished = read(found, is_finished)[-1]
    with av.open(str(finished.take)) as take:
        cards = [read_card(picture.to_ndarray(format="rgb24"))[0] for picture in take.decode(video=0)]
    assert cards == list(range(len(cards))) and len(cards) >= 9 + 12 * made
    assert len(json.loads(finished.session_file.read_text())["chunks"]) == found.num_chunks
    again.close()
    last = fakes.make_engine(folder=tmp_path)
    assert last.claim("ada", run.token) is None, "a story that has ended is not taken up"
    last.close()


class LosingCarrier(ThreadExecutor):
    """Its workers die before the chunks that are listed, as often as they are."""

    def __init__(self, studio: ModelRunner, losses: list[int]) -> None:
        super().__init__(studio)
        self.losses = losses

    def start(self, order):
        carriage = super().start(order)
        plain = carriage.reports

        def reports():
            for report in plain():
                if isinstance(report, SegmentEvent) and report.segment.index in self.losses:
                    self.losses.remove(report.segment.index)
                    raise LostError("killed")
                yield report

        carriage.reports = reports
        return carriage


@pytest.mark.parametrize("losses", [[0], [3], [3, 3, 4]])
def test_a_lost_worker_s_story_goes_on_elsewhere(losses) -> None:
    models = FakeModels()
    engine = Engine(
        LosingCarrier(ModelRunner(models, open_session=fakes.FakeSession), losses),
        limits=Limits(video_s=4, ahead_s=99),
    )
    run = engine.start("ada", MEADOW, seed=0, script=[Scene(2.0, JUMP)])
    *words, finished = read(run, is_finished)
    frames = [
        (word.segment.first_frame, word.segment.prompt) for word in words if isinstance(word, SegmentEvent)
    ]
    assert frames == [(0, MEADOW), (1, MEADOW), (9, MEADOW), (21, MEADOW), (33, JUMP), (45, JUMP), (57, JUMP)]
    assert not finished.failed and finished.take is not None and models.open_now == 0
    engine.close()


def test_a_worker_that_is_lost_again_and_again_ends_the_run_in_words() -> None:
    studio = ModelRunner(FakeModels(), open_session=fakes.FakeSession)
    engine = Engine(LosingCarrier(studio, [2] * 9), limits=Limits(ahead_s=99))
    finished = read(engine.start("ada", MEADOW, seed=0), is_finished)[-1]
    assert finished.failed and "killed" in finished.reason and "tried 4 times" in finished.reason
    assert finished.take is not None, "what was made is kept"
    engine.close()


class HastyCarrier(LosingCarrier):
    """It has no time for an exact replay: such a carriage is over before it makes a chunk."""

    def start(self, order):
        carriage = super().start(order)
        if order.past is not None and order.past.exact:
            carriage.reports = lambda: iter([Preempted("The lease is over.")])
        return carriage


def test_a_story_that_cannot_be_taken_up_exactly_is_taken_up_quickly() -> None:
    carrier = HastyCarrier(ModelRunner(FakeModels(), open_session=fakes.FakeSession), [3])
    engine = Engine(carrier, limits=Limits(video_s=4, ahead_s=99))
    *words, finished = read(engine.start("ada", MEADOW, seed=0), is_finished)
    assert not finished.failed and len([word for word in words if isinstance(word, SegmentEvent)]) == 7
    ways = [word.words for word in words if isinstance(word, NoticeEvent) and "goes on" in word.words]
    assert ["exactly" in way for way in ways] == [True, True, False]
    engine.close()


def test_prompts_come_at_a_humane_pace(make_engine) -> None:
    run = make_engine(prompts_per_minute=2, queue=99).start("ada", MEADOW, seed=0)
    run.prompt("snow"), run.prompt("rain")
    with pytest.raises(PromptError, match="within a minute"):
        run.prompt("hail")


def test_a_broken_model_is_told_in_words_and_the_next_run_works(make_engine) -> None:
    models = FakeModels(break_at=2)
    engine = make_engine(models)
    finished = read(engine.start("ada", MEADOW, seed=0), is_finished)[-1]
    assert finished.failed and "broke at chunk 2: RuntimeError: the weights fell over" in finished.reason
    models.break_at = None
    read(engine.start("ada", MEADOW, seed=0), is_shot(3))


def in_a_smaller_way(models: FakeModels) -> FakeModels:
    return dataclasses.replace(models, smaller=None, open_now=0, streams=1)


@pytest.mark.parametrize("stage", ["open", "denoise", "remember", "decode"])
def test_when_the_memory_runs_out_the_story_goes_on_in_a_smaller_way(make_engine, stage) -> None:
    fault = (stage, 0 if stage == "open" else 2)
    models = FakeModels(smaller=in_a_smaller_way, out_of_memory=[fault])
    engine = make_engine(models, video_s=3.0, ahead_s=99)
    *reports, finished = read(engine.start("ada", MEADOW, seed=7), is_finished, timeout=60)
    notices = [report.words for report in reports if isinstance(report, NoticeEvent)]
    assert len(notices) == 1 and "memory ran out" in notices[0] and "your story with it" in notices[0]
    assert not finished.failed and models_of(engine).smaller is None and models.open_now == 0
    with av.open(str(finished.take)) as take:
        cards = [read_card(picture.to_ndarray(format="rgb24")) for picture in take.decode(video=0)]
    assert cards == [(number, 0) for number in range(57)], "no picture is lost, and none comes twice"


@pytest.mark.parametrize("smaller", [None, in_a_smaller_way])
def test_when_nothing_smaller_helps_the_run_ends_in_words_and_the_next_works(make_engine, smaller) -> None:
    faults = [("denoise", 2)] * (1 if smaller is None else 2)
    engine = make_engine(models := FakeModels(smaller=smaller, out_of_memory=faults))
    finished = read(engine.start("ada", MEADOW, seed=0), is_finished, timeout=60)[-1]
    assert finished.failed and "memory ran out at chunk 2" in finished.reason
    assert "press Start for another" in finished.reason
    assert models.open_now == models_of(engine).open_now == 0
    read(engine.start("ada", MEADOW, seed=0), is_shot(3))


def test_the_memory_that_one_run_lacks_does_not_end_the_others(make_engine) -> None:
    shrunk: list[FakeModels] = []

    def once(models: FakeModels) -> FakeModels:
        shrunk.append(models)
        return dataclasses.replace(in_a_smaller_way(models), out_of_memory=[])

    models = FakeModels(smaller=once)
    engine = make_engine(models, ahead_s=99, away_s=99)
    ada, bob = (engine.start(name, MEADOW, seed=0) for name in ("ada", "bob"))
    read(ada, is_shot(2)), read(bob, is_shot(2))
    models.out_of_memory += [("decode", 16), ("decode", 16)]
    for run in (ada, bob):
        reports = read(run, is_shot(20), timeout=60)
        assert sum(isinstance(report, NoticeEvent) for report in reports) == 1
    assert shrunk == [models]


def test_a_full_disk_stops_the_take_but_not_the_stream(make_engine) -> None:
    run = make_engine(ahead_s=99, video_s=8).start("ada", MEADOW, seed=0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        reports = read(run, is_finished)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    notice = next(report for report in reports if isinstance(report, NoticeEvent))
    assert notice.words.startswith("The story goes on, but")
    assert len([report for report in reports if isinstance(report, SegmentEvent)]) == 12
    assert reports[-1].take is None
    assert "longlive.json" in [file.name for file in run.folder.iterdir()]


def test_only_the_token_moves_a_runs_playhead(make_engine) -> None:
    engine = make_engine()
    run = engine.start("ada", MEADOW, seed=0)
    assert not engine.playhead("guess", 1.0, True)
    assert engine.playhead(run.token, 1.0, True)


def test_the_turnstile_lets_the_earliest_deadline_through_first() -> None:
    turns, order = DeadlineLock(), []

    def work(name: str, deadline: float) -> None:
        with turns.turn(deadline):
            order.append(name)

    with turns.turn(0.0):
        threads = [
            threading.Thread(target=work, args=args) for args in (("late", 9.0), ("soon", 1.0), ("next", 5.0))
        ]
        for thread in threads:
            thread.start()
            time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert order == ["soon", "next", "late"]


def test_the_mailbox_puts_a_prompt_off_to_the_first_chunk_that_has_not_begun() -> None:
    mailbox = MemoryMailbox()
    assert mailbox.post(Prompt("a")) == Prompt("a", chunk=0)
    assert mailbox.begin(4) == [Prompt("a", chunk=0)]
    mailbox.post(Playhead(1.0))
    assert mailbox.post(Prompt("b", chunk=2)) == Prompt("b", chunk=5)
    mailbox.post(Stop("Stopped."))
    assert mailbox.poll() == [Playhead(1.0), Prompt("b", chunk=5), Stop("Stopped.")]
    assert mailbox.poll(0.01) == []


def test_the_real_session_fits_the_engine(tiny_models) -> None:
    """The doubles of this file keep the contract of ``longlive.generation.session``; this is the proof."""
    engine = fakes.make_engine(tiny_models, opener=open_session, ahead_s=99, video_s=2)
    engine.warm_up()
    run = engine.start("ada", "a red ball", seed=7, script=[Scene(1.0, "a blue cube", "hard")])
    *shots, finished = read(run, is_finished, timeout=60)
    assert [shot.segment.prompt for shot in shots] == ["a red ball"] * 3 + ["a blue cube"] * 2
    assert [shot.segment.first_frame for shot in shots] == [0, 1, 9, 21, 30]
    assert json.loads(finished.session_file.read_text())["seed"] == 7 and finished.take.exists()
    engine.close()


def test_a_story_with_an_unusable_prompt_is_refused_and_leaves_nothing(make_engine) -> None:
    engine = make_engine()
    with pytest.raises(PromptError, match="empty"):
        engine.start("ada", MEADOW, seed=0, script=[Scene(2.0, " ")])
    assert engine.num_runs == 0 and not [path for path in engine.folder.iterdir() if path.is_dir()]


def test_a_story_planned_far_ahead_is_taken_at_once(make_engine) -> None:
    """One of 1000 prompts a day ahead; others wait for the engine meanwhile."""
    engine = make_engine()
    begun = time.monotonic()
    run = engine.start("viewer", "a", seed=1, script=[Scene(86_400.0, "b", "soft")] * 1000)
    assert time.monotonic() - begun < 2
    assert run.waiting[0].chunk == 115_201 and run.start_of(115_201) >= 86_400 > run.start_of(115_200)
