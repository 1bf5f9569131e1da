"""A prompt takes effect at the first chunk that its viewer has not begun to see."""

import json
import time
from collections.abc import Callable, Iterator

import av
import pytest

from longlive.generation.session_file import SessionRecord
from longlive.generation.storyboard import Scene
from longlive.media.segments import Container
from longlive.serving.engine import Engine
from longlive.serving.executors.events import SegmentEvent
from longlive.serving.executors.mailbox import MemoryMailbox
from longlive.serving.executors.messages import Prompt
from longlive.serving.executors.model_runner import ModelRunner
from longlive.serving.runs.events import Rewound, RunEvent
from longlive.serving.runs.run import Run
from tests.support import fakes
from tests.support.fakes import FakeModels, LosingExecutor, read_card
from tests.support.metrics_reader import figures
from tests.support.run_reader import is_finished, is_segment, read, wait_for

MEADOW, JUMP, CUBE = "a red ball stands on a green meadow", "the red ball jumps", "a blue cube"
AHEAD_S = 6.0


@pytest.fixture(params=[False, True], ids=["in turn", "overlapped"])
def make_engine(request: pytest.FixtureRequest) -> Iterator[Callable[..., Engine]]:
    engines: list[Engine] = []

    def make(models: FakeModels | None = None, **options) -> Engine:
        options = {"buffer_ahead_s": AHEAD_S, "overlap": request.param} | options
        engines.append(fakes.make_engine(models or FakeModels(chunk_s=0.01), **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def start(engine: Engine, *, container: Container = "mp4", chunk: int = 6, **options) -> Run:
    """A run whose viewer stands still at second 1, in chunk 1, when ``chunk`` has been made.

    Chunk 2 starts at second 1.3; a busy machine may need more time to make it again.
    """
    run = engine.start("ada", MEADOW, seed=7, container=container, **options)
    read(run, is_segment(0))
    run.playhead(1.0, playing=False)
    read(run, is_segment(chunk))
    return run


def stop(run: Run) -> tuple[list[tuple[int, int]], SessionRecord]:
    """The (frame, prompt) cards of the film that a run leaves, and its session file."""
    run.stop("user")
    finished = read(run, is_finished)[-1]
    with av.open(str(finished.video)) as film:
        cards = [read_card(picture.to_ndarray(format="rgb24")) for picture in film.decode(video=0)]
    return cards, SessionRecord.read(finished.session_file)


def made(events: list[RunEvent]) -> list[tuple[int, str]]:
    """Chunk and prompt of the segments among some events."""
    return [(one.segment.index, one.segment.prompt) for one in events if isinstance(one, SegmentEvent)]


@pytest.mark.parametrize("switch", ["soft", "hard"])
def test_what_was_made_but_not_seen_is_dropped_and_made_again(make_engine, switch) -> None:
    engine = make_engine()
    run = start(engine)
    scheduled = run.prompt(JUMP, switch)
    chunk, second = scheduled.chunk, scheduled.at_seconds
    assert 2 <= chunk <= 5 and second == run._progress._model.chunk_start_s(chunk)
    assert scheduled.in_seconds == pytest.approx(second - 1)
    dropped, *rest = read(run, is_segment(6))
    assert dropped == Rewound(chunk, second)
    assert made(rest) == [(index, JUMP) for index in [chunk, *range(chunk, 7)]], "its first part ahead"
    assert [span.end for span in run.prompts.spans[:1]] == [second]
    cards, record = stop(run)
    assert [frame for frame, _ in cards] == list(range(len(cards)))
    num_before = round(16 * second)
    assert [prompt for _, prompt in cards] == [0] * num_before + [1] * (len(cards) - num_before)
    assert [(event.chunk, event.text) for event in record.prompts] == [(0, MEADOW), (chunk, JUMP)]
    assert len(record.chunks) == run.num_chunks
    assert figures(engine.metrics)["longlive_dropped_chunks_total"] >= 6 - chunk


@pytest.mark.slow
def test_a_chunk_that_could_not_be_ready_in_time_is_left(make_engine) -> None:
    run = start(make_engine(FakeModels(chunk_s=0.6)), chunk=4)
    assert run.prompt(JUMP).at_seconds > 1.0 + 0.6


def test_a_player_that_hears_late_keeps_more_of_what_was_made(make_engine) -> None:
    run = start(make_engine())
    for seconds in (0.6, 0.2, -3.0, float("nan")):
        run.playhead(1.0, playing=False, round_trip_s=seconds)
    assert run.presence.round_trip_s == 0.6, "the longest of the last ones"
    assert run.prompt(JUMP).at_seconds >= 1.0 + 0.6 + 0.1
    run.playhead(1.0, playing=False, round_trip_s=1e9)
    assert run.presence.round_trip_s == 1, "a player is believed so much"
    for _ in range(4):
        run.playhead(1.0, playing=False)
    assert run.presence.round_trip_s == 0


def test_a_prompt_lands_where_it_was_promised_though_another_follows_at_once(make_engine) -> None:
    run = start(make_engine())
    first, second, third = run.prompt(JUMP), run.prompt(CUBE), run.prompt(MEADOW, "hard")
    chunk = first.chunk
    assert [one.chunk for one in (first, second, third)] == [chunk, chunk + 1, chunk + 2]
    segments = dict(made(read(run, is_segment(chunk + 3))))
    assert segments == {chunk: JUMP, chunk + 1: CUBE, chunk + 2: MEADOW, chunk + 3: MEADOW}
    _, record = stop(run)
    assert [event.chunk for event in record.prompts] == [0, chunk, chunk + 1, chunk + 2]


def test_a_prompt_of_the_script_that_has_begun_is_not_undone(make_engine) -> None:
    run = start(make_engine(), script=[Scene(2.6, CUBE)])
    scheduled = run.prompt(JUMP)
    assert scheduled.chunk == 5
    read(run, is_segment(6))
    cards, record = stop(run)
    assert [(event.chunk, event.text) for event in record.prompts] == [(0, MEADOW), (4, CUBE), (5, JUMP)]
    assert [frame for frame, _ in cards] == list(range(len(cards)))


def test_drift_and_hls_and_programs_wait_for_what_was_made(make_engine) -> None:
    run = start(make_engine())
    assert run.prompt(JUMP, "keep").chunk > 6, "its cache would have gaps"
    run = start(make_engine(), container="ts")
    assert run.prompt(JUMP).chunk > 6, "a playlist cannot be taken back"
    engine = make_engine(max_video_s=6)
    run = engine.start("bob", MEADOW, seed=7)
    read(run, is_segment(3))
    assert not any(isinstance(event, Rewound) for event in (run.prompt(JUMP), *read(run, is_finished)))


def test_a_worker_that_is_lost_before_it_hears_of_the_prompt_loses_nothing() -> None:
    runner = ModelRunner(FakeModels(chunk_s=0.05), open_session=fakes.FakeSession)
    engine = Engine(LosingExecutor(runner, [3, 3]), limits=fakes.Limits(buffer_ahead_s=AHEAD_S))
    run = engine.start("ada", MEADOW, seed=7)
    read(run, is_segment(0))
    run.playhead(1.0, playing=False)
    read(run, is_segment(2))
    scheduled = run.prompt(JUMP)
    read(run, is_segment(scheduled.chunk + 2))
    cards, record = stop(run)
    assert [frame for frame, _ in cards] == list(range(len(cards)))
    first = next(frame for frame, prompt in cards if prompt)
    assert first == run._progress._model.num_frames(3 * record.prompts[1].chunk)
    engine.close()


def test_a_restart_finds_the_run_as_its_viewer_saw_it(tmp_path) -> None:
    engine = fakes.make_engine(FakeModels(chunk_s=0.01), folder=tmp_path, buffer_ahead_s=AHEAD_S)
    run = start(engine)
    scheduled = run.prompt(JUMP)
    assert scheduled.chunk < 6
    read(run, is_segment(6))
    engine.close()
    lines = (next(tmp_path.glob("*/story.jsonl"))).read_text().splitlines()
    assert {"rewind": scheduled.chunk} in [json.loads(line) for line in lines]
    again = fakes.make_engine(FakeModels(chunk_s=0.01), folder=tmp_path, buffer_ahead_s=AHEAD_S)
    found = again.claim("ada", run.token)
    assert found is not None and not list(found.prompts), "the prompt is in use, and does not come again"
    found.playhead(1.0, playing=False)
    wait_for(lambda: found.num_chunks >= 8)
    cards, record = stop(found)
    num_before = round(16 * scheduled.at_seconds)
    assert [prompt for _, prompt in cards] == [0] * num_before + [1] * (len(cards) - num_before)
    assert [event.chunk for event in record.prompts] == [0, scheduled.chunk]
    again.close()


def test_a_restart_before_the_prompt_took_effect_still_drops_what_was_not_seen(tmp_path, monkeypatch) -> None:
    engine = fakes.make_engine(FakeModels(chunk_s=0.01), folder=tmp_path, buffer_ahead_s=AHEAD_S)
    run = start(engine)
    run.suspend()
    wait_for(lambda: run.status == "suspended")
    run.prompts.add(Prompt(JUMP, "soft", 3, rewinds=True))
    run.store.write_prompts(tuple(run.prompts))  # the process is killed here
    engine.close()
    again = fakes.make_engine(FakeModels(chunk_s=0.01), folder=tmp_path, buffer_ahead_s=AHEAD_S)
    found = again.claim("ada", run.token)
    found.playhead(1.0, playing=False)
    read(found, is_segment(5))
    cards, record = stop(found)
    assert [event.chunk for event in record.prompts] == [0, 3]
    assert [prompt for _, prompt in cards] == [0] * 33 + [1] * (len(cards) - 33)
    again.close()


@pytest.mark.slow
def test_a_viewer_who_catches_up_while_prompts_come_sees_every_picture_once(make_engine) -> None:
    """A player at real speed, and a prompt every half second; what a player does with the events."""
    engine = make_engine(FakeModels(chunk_s=0.05), buffer_ahead_s=1.5)
    run = engine.start("ada", MEADOW, seed=7)
    read(run, is_segment(1))
    begun, shown, buffer, sent = time.monotonic(), {}, {}, 0
    while (second := time.monotonic() - begun) < 4.0:
        run.playhead(second, playing=True)
        if second > 0.5 * (sent + 1):
            sent += 1
            run.prompt(f"prompt {sent}")
        for event in read(run, lambda event: True):
            if isinstance(event, SegmentEvent):
                part = event.segment
                buffer |= {part.first_frame + n: part.prompt for n in range(part.num_frames)}
            elif isinstance(event, Rewound):
                assert event.second > second, "never what is on the screen"
                buffer = {frame: prompt for frame, prompt in buffer.items() if frame < event.second * 16}
        shown |= {frame: prompt for frame, prompt in buffer.items() if frame <= second * 16}
    cards, record = stop(run)
    texts = [event.text for event in record.prompts]
    film = {frame: texts[prompt] for frame, prompt in cards}
    assert len(texts) >= sent - 2 >= 3, "some may still wait for their chunk"
    assert all(film[frame] == prompt for frame, prompt in shown.items())


def test_a_chunk_that_will_not_be_shown_is_not_made_to_its_end(make_engine) -> None:
    models = FakeModels(chunk_s=0.4)
    run = make_engine(models).start("ada", MEADOW, seed=7)
    run.playhead(1.0, playing=False)
    read(run, is_segment(2))
    wait_for(lambda: run._started_chunk == 3)
    assert run.prompt(JUMP).chunk == 3
    event = read(run, is_segment(3))[-1]
    assert isinstance(event, SegmentEvent) and event.segment.prompt == JUMP
    assert models.finished == 4


def test_a_mailbox_leaves_a_prompt_that_rewinds_where_it_is() -> None:
    mailbox = MemoryMailbox(started_chunk=7)
    assert mailbox.post(Prompt(JUMP, "soft", 5, rewinds=True)).chunk == 5
    assert mailbox.post(Prompt(JUMP, "soft", 5)).chunk == 8
