"""Prompts to come are moved, removed and added exactly, up to the chunk that is being begun."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest

from longlive.errors import PromptError
from longlive.generation.session_file import SessionRecord
from longlive.generation.storyboard import Scene
from longlive.serving.engine import Engine
from longlive.serving.executors.executor import StreamHandle
from longlive.serving.executors.job import Job
from longlive.serving.executors.model_runner import ModelRunner, open_session
from longlive.serving.executors.thread import ThreadExecutor
from longlive.serving.limits import Limits
from longlive.serving.runs.run import Run
from tests.support import fakes
from tests.support.fakes import FakeModels, FakeSession, LosingExecutor, read_card
from tests.support.run_reader import is_finished, is_segment, read, wait_for

MEADOW, JUMP, CUBE, SNOW = "a red ball stands on a green meadow", "the red ball jumps", "a blue cube", "snow"
SCRIPT = [Scene(3.0, JUMP), Scene(5.0, CUBE)]
"""They are due at chunk 5 (3.5625 s) and chunk 7 (5.0625 s)."""


@pytest.fixture(params=[False, True], ids=["in turn", "overlapped"])
def make_engine(request: pytest.FixtureRequest) -> Iterator[Callable[..., Engine]]:
    engines: list[Engine] = []

    def make(models: FakeModels | None = None, **options) -> Engine:
        options = {"overlap": request.param, "prompts_per_minute": 10_000} | options
        engines.append(fakes.make_engine(models or FakeModels(chunk_s=0.01), **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def start(engine: Engine, script: list[Scene] = SCRIPT) -> Run:
    """A run whose viewer stands still near the beginning, with a second or so made ahead."""
    run = engine.start("ada", MEADOW, seed=7, script=script)
    run.playhead(0.1, playing=False)
    read(run, is_segment(1), timeout=60)
    return run


def scheduled(run: Run) -> list[tuple[int, str]]:
    return [(row.chunk, row.text) for row in run.storyboard().scheduled]


def made(run: Run, last_chunk: int) -> list[tuple[int, str]]:
    """Chunk and text of the prompts of a video that is watched up to a chunk; its pictures show the same."""

    def is_made() -> bool:
        run.playhead(0.75 * last_chunk, playing=False)  # again and again, as players do
        return run.num_chunks > last_chunk

    wait_for(is_made, timeout=60)
    board = run.storyboard()
    assert all(row.at_seconds == run._progress._model.chunk_start_s(row.chunk) for row in board.begun)
    run.stop("user")
    finished = read(run, is_finished)[-1]
    events = SessionRecord.read(finished.session_file).prompts
    with av.open(str(finished.video)) as film:
        cards = [read_card(picture.to_ndarray(format="rgb24")) for picture in film.decode(video=0)]
    chunks = [event.chunk for event in events]
    for frame, prompt in cards:
        chunk = 0 if frame < 9 else 1 + (frame - 9) // 12
        assert prompt == sum(start <= chunk for start in chunks) - 1, f"picture {frame} is of chunk {chunk}"
    assert [(row.chunk, row.text) for row in board.begun] == [(one.chunk, one.text) for one in events][
        : len(board.begun)
    ]
    return [(event.chunk, event.text) for event in events]


def test_a_prompt_that_is_moved_takes_effect_at_its_new_second_and_a_removed_one_never(make_engine) -> None:
    run = start(make_engine())
    assert scheduled(run) == [(5, JUMP), (7, CUBE)]
    run.reschedule([5], [Scene(4.3, JUMP, "hard")])
    assert scheduled(run) == [(6, JUMP), (7, CUBE)]
    run.reschedule([7], [])
    run.reschedule([], [Scene(7.0, SNOW)])
    assert scheduled(run)[-1] == (10, SNOW), "7.125 s, less what the cut takes: 0.1875 s"
    assert run.storyboard().scheduled[-1].at_seconds == pytest.approx(7.125)
    assert made(run, 11) == [(0, MEADOW), (6, JUMP), (10, SNOW)]


def test_all_prompts_to_come_are_replaced_by_a_list_or_by_none(make_engine) -> None:
    run = start(make_engine())
    run.reschedule(None, [Scene(4.9, SNOW), Scene(2.9, CUBE)])
    assert scheduled(run) == [(5, CUBE), (7, SNOW)]
    run.reschedule(None, [])
    assert scheduled(run) == [] and made(run, 8) == [(0, MEADOW)]


def test_two_prompts_of_one_chunk_get_a_chunk_each(make_engine) -> None:
    run = start(make_engine())
    run.reschedule([], [Scene(3.1, SNOW), Scene(3.2, MEADOW)])
    assert scheduled(run) == [(5, JUMP), (6, SNOW), (7, CUBE), (8, MEADOW)]
    assert made(run, 9) == [(0, MEADOW), (5, JUMP), (6, SNOW), (7, CUBE), (8, MEADOW)]


@pytest.mark.parametrize(
    ("removed", "scenes", "words"),
    [
        ([0], [], "being shown already"),
        ([4], [], "being shown already"),
        ([5, 99], [], "being shown already"),
        ([], [Scene(0.05, SNOW)], r"at 0.1 s.*video is at 0.1 s. Choose a later second"),
        ([], [Scene(100.0 + number, SNOW) for number in range(999)], "1,001 prompts to come"),
    ],
)
def test_what_cannot_be_changes_nothing_and_is_said(make_engine, removed, scenes, words) -> None:
    run = start(make_engine())
    with pytest.raises(PromptError, match=words):
        run.reschedule(removed, scenes)
    assert scheduled(run) == [(5, JUMP), (7, CUBE)]
    assert made(run, 8) == [(0, MEADOW), (5, JUMP), (7, CUBE)]


def test_changes_are_limited_like_prompts(make_engine) -> None:
    run = start(make_engine(prompts_per_minute=2))
    run.reschedule([5], [])
    run.reschedule([7], [])
    with pytest.raises(PromptError, match="2 prompts came within a minute"):
        run.reschedule([], [Scene(8.0, SNOW)])


def test_a_prompt_of_the_viewer_s_replaces_those_to_come_and_can_itself_be_removed(make_engine) -> None:
    run = start(make_engine())
    chunk = run.prompt(SNOW, "keep").chunk
    assert scheduled(run) == [(chunk, SNOW)]
    run.reschedule([], [Scene(6.0, CUBE)])
    run.reschedule([chunk], [])
    assert made(run, 10) == [(0, MEADOW), (9, CUBE)]


@pytest.mark.slow
def test_a_change_at_the_moment_when_a_chunk_begins_is_made_or_refused_and_never_half(make_engine) -> None:
    chunks = list(range(4, 20, 2))
    script = [Scene((12 * chunk - 3) / 16, f"prompt {chunk}") for chunk in chunks]
    run = start(make_engine(), script)
    assert [chunk for chunk, _ in scheduled(run)] == chunks
    refused, draw = [], random.Random(7)
    watching = threading.Thread(target=_watch, args=(run, chunks[-1]))
    watching.start()
    for chunk in chunks:
        wait_for(lambda chunk=chunk: run._started_chunk >= chunk - 1 - draw.randrange(2))
        try:
            run.reschedule([chunk], [Scene(600.0 + chunk, "moved")])
        except PromptError:
            refused.append(chunk)
    watching.join()
    wait_for(lambda: run.num_chunks > chunks[-1], timeout=60)
    begun = [(row.chunk, row.text) for row in run.storyboard().begun]
    assert begun == [(0, MEADOW), *((chunk, f"prompt {chunk}") for chunk in refused)]
    assert len(scheduled(run)) == len(chunks) - len(refused)


def _watch(run: Run, last_chunk: int) -> None:
    """Watch a video as fast as it is made."""
    while run.num_chunks <= last_chunk:
        run.playhead(run.end_s, playing=False)
        time.sleep(0.002)


def test_changes_are_kept_over_a_restart_and_while_nobody_watches(tmp_path: Path) -> None:
    engine = fakes.make_engine(folder=tmp_path)
    run = start(engine)
    run.reschedule([5], [])
    engine.close()
    run.reschedule([], [Scene(6.0, SNOW)])
    again = fakes.make_engine(folder=tmp_path)
    found = again.claim("ada", run.token)
    assert found is not None and scheduled(found) == [(7, CUBE), (9, SNOW)]
    assert found.storyboard().begun[0].text == MEADOW
    assert made(found, 10) == [(0, MEADOW), (7, CUBE), (9, SNOW)]
    again.close()


def test_changes_in_the_queue_reach_the_worker(make_engine) -> None:
    engine = make_engine(FakeModels(chunk_s=0.01, streams=1))
    first = start(engine)
    run = engine.start("ben", MEADOW, seed=7, script=SCRIPT)
    run.reschedule([7], [Scene(0.2, SNOW)])
    assert scheduled(run) == [(1, SNOW), (5, JUMP)] and not run.num_chunks
    assert [row.text for row in run.storyboard().begun] == [MEADOW]
    first.stop("user")
    read(run, is_segment(1))
    assert made(run, 8) == [(0, MEADOW), (1, SNOW), (5, JUMP)]


class InterruptedExecutor(ThreadExecutor):
    """Calls ``meanwhile`` when a job has been handed over, before the run knows its worker."""

    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    def start(self, job: Job) -> StreamHandle:
        handle = super().start(job)
        self.meanwhile()
        return handle


def test_changes_while_a_job_is_handed_over_reach_the_worker() -> None:
    executor = InterruptedExecutor(ModelRunner(FakeModels(chunk_s=0.01), open_session=FakeSession))
    engine = Engine(executor, limits=Limits())
    runs: list[Run] = []
    known = threading.Event()

    def change() -> None:
        known.wait(10)
        runs[0].reschedule([5], [])
        runs[0].prompt(SNOW, "keep")

    executor.meanwhile = change
    runs.append(engine.start("ada", MEADOW, seed=7, script=SCRIPT))
    known.set()
    assert made(runs[0], 8) == [(0, MEADOW), (1, SNOW)]
    engine.close()


def test_a_lost_worker_s_prompts_to_come_are_those_that_were_changed() -> None:
    executor = LosingExecutor(ModelRunner(FakeModels(chunk_s=0.01), open_session=FakeSession), [3])
    engine = Engine(executor, limits=Limits(), resume="exact")
    run = start(engine)
    run.reschedule([5], [Scene(4.3, JUMP)])
    assert made(run, 8) == [(0, MEADOW), (6, JUMP), (7, CUBE)]
    assert executor.losses == []
    engine.close()


def test_scenes_of_the_real_session_begin_at_their_seconds_also_after_cuts(tiny_models) -> None:
    engine = fakes.make_engine(tiny_models, opener=open_session, buffer_ahead_s=99, max_video_s=6)
    script = [Scene(1.0, CUBE, "hard"), Scene(2.0, SNOW, "hard"), Scene(3.0, MEADOW, "hard"), Scene(5, JUMP)]
    run = engine.start("ada", "a red ball", seed=7, script=script)
    promised = [(row.at_seconds, row.text) for row in run.storyboard().scheduled]
    read(run, is_finished, timeout=60)
    begun = run.storyboard().begun[1:]
    assert [(row.at_seconds, row.text) for row in begun] == promised
    starts = [chunk.start_s for chunk in run.store.chunks]
    for scene, row in zip(script, begun, strict=True):
        assert starts[row.chunk - 1] < scene.at <= row.at_seconds == starts[row.chunk]
    engine.close()
