"""A run that goes on after the first chunks of another one, which stays."""

import gc
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import pytest
import torch

from longlive import ModelBundle, Session
from longlive.chunks import SWITCH_MODES, SwitchMode
from longlive.cli import main
from longlive.errors import BusyError, ConfigError, PromptError, SessionFileError
from longlive.generation.session_file import SessionRecord
from longlive.serving.engine import Engine
from longlive.serving.executors.model_runner import open_session
from longlive.serving.runs.events import RunFinished
from longlive.serving.runs.run import KEPT_EVENTS, Run
from longlive.serving.runs.store.run_store import RunStore
from longlive.serving.scheduler import RunStatus
from tests.support import fakes
from tests.support.fakes import FakeModels
from tests.support.page_client import cards_of
from tests.support.run_reader import codes, is_finished, is_segment, read, segments, wait_for

MEADOW, JUMP, CUBE = "a red ball stands on a green meadow", "the red ball jumps", "a blue cube"


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = fakes.make_engine(FakeModels(chunk_s=0.01), max_video_s=4.5, buffer_ahead_s=99)
    yield engine
    engine.close()


def film(run: Run) -> tuple[list[tuple[int, int]], SessionRecord]:
    """The cards and the session file of a run that comes to its end."""
    finished = read(run, is_finished)[-1]
    assert isinstance(finished, RunFinished) and finished.session_file is not None
    return cards_of(str(finished.video)), SessionRecord.read(finished.session_file)


def test_a_branch_begins_with_the_chunks_of_the_other_run_and_goes_on_by_itself(engine: Engine) -> None:
    first = engine.start("ada", MEADOW, seed=7)
    cards, record = film(first)
    assert len(cards) == 72
    branch = engine.branch("ada", first, 3, prompt=JUMP)
    assert branch.end_s == 33 / 16 and branch.num_chunks == 3
    assert [(span.text, span.end) for span in branch.prompts.spans] == [(MEADOW, 33 / 16)]
    events = read(branch, is_segment(3))
    assert codes(events) == ["branched_exact"]
    assert [shot.first_frame for shot in segments(events)] == [33]
    branched, other = film(branch)
    assert branched == [(frame, int(frame >= 33)) for frame in range(72)]
    assert [(event.chunk, event.text, event.switch) for event in other.prompts] == [
        (0, MEADOW, None),
        (3, JUMP, "soft"),
    ]
    assert other.chunks[:3] == record.chunks[:3] and len(other.chunks) == len(record.chunks)
    assert first.store.num_chunks == len(record.chunks), "the other take is still there"


def test_a_branch_ends_the_run_that_plays_and_keeps_its_film() -> None:
    engine = fakes.make_engine(FakeModels(chunk_s=0.05), buffer_ahead_s=2)
    first = engine.start("ada", MEADOW, seed=7)
    read(first, is_segment(3))
    branch = engine.branch("ada", first, 2, prompt=JUMP, switch="hard")
    finished = read(first, is_finished)[-1]
    assert isinstance(finished, RunFinished) and finished.reason == "replaced" and finished.video is not None
    assert read(branch, is_segment(2))[-1].segment.prompt == JUMP  # type: ignore[union-attr]
    again = engine.branch("ada", first, 1, prompt=CUBE)
    assert read(again, is_segment(1))[-1].segment.prompt == CUBE  # type: ignore[union-attr]
    of_branch = engine.branch("ada", branch, 3)
    assert read(of_branch, is_segment(3))[-1].segment.prompt == JUMP  # type: ignore[union-attr]
    engine.close()


def test_a_branch_beyond_the_end_is_refused_and_the_run_goes_on(engine: Engine) -> None:
    first = engine.start("ada", MEADOW, seed=7)
    read(first, is_segment(1))
    for chunk in (0, -1, 999):
        with pytest.raises(ConfigError, match=f"chunk is {chunk}, but that video has .* chunks"):
            engine.branch("ada", first, chunk)
    with pytest.raises(PromptError):
        engine.branch("ada", first, 1, prompt="x" * 10_000)
    with pytest.raises(ConfigError, match="seed is -3"):
        engine.branch("ada", first, 1, seed=-3)
    assert [one.name for one in engine.folder.iterdir() if one.is_dir()] == [first.store.folder.name]
    assert len(film(first)[0]) == 72


def test_a_branch_waits_in_the_queue_like_any_other(engine: Engine) -> None:
    slow = fakes.make_engine(FakeModels(chunk_s=0.3), max_queue_size=1)
    parents = [slow.start(viewer, MEADOW, seed=7) for viewer in ("ada", "bob")]
    read(parents[0], is_segment(1))
    with pytest.raises(BusyError):
        slow.branch("cleo", parents[0], 1)
    slow.close()


def test_a_branch_survives_a_restart(tmp_path: Path) -> None:
    engine = fakes.make_engine(FakeModels(chunk_s=0.01), folder=tmp_path, buffer_ahead_s=2)
    first = engine.start("ada", MEADOW, seed=7)
    read(first, is_segment(2))
    branch = engine.branch("ada", first, 2, prompt=JUMP, seed=9)
    read(branch, is_segment(3))
    engine.close()
    again = fakes.make_engine(FakeModels(chunk_s=0.01), folder=tmp_path, buffer_ahead_s=2)
    found = again.claim("ada", branch.token)
    assert found is not None and found.store.facts["parent"] == {"run": first.name, "chunk": 2}
    read(found, is_segment(found.num_chunks + 1))
    record = found.store.record()
    assert record is not None and [(one.chunk, one.seed) for one in record.reseeds] == [(2, 9)]
    again.close()


@pytest.mark.parametrize("switch", ["soft", "hard", "keep"])
@pytest.mark.parametrize("seed", [None, 9])
def test_with_the_real_engine_a_branch_is_what_a_session_makes_and_its_file_replays(
    tiny_models: ModelBundle, switch, seed
) -> None:
    engine = fakes.make_engine(tiny_models, opener=open_session, max_video_s=4.5, buffer_ahead_s=99)
    first = engine.start("ada", MEADOW, seed=7)
    record = film_record(first)
    branch = engine.branch("ada", first, 3, prompt=JUMP, switch=switch, seed=seed)
    other = film_record(branch)
    assert other.chunks[:3] == record.chunks[:3] and other.chunks[3] != record.chunks[3]
    session = Session.of_record(tiny_models, other)
    for _ in other.chunks:
        session.next_latents()
    assert session.digests == other.chunks
    if seed is None:
        straight = Session(tiny_models, MEADOW, seed=7)
        for chunk in range(len(other.chunks)):
            if chunk == 3:
                straight.set_prompt(JUMP, switch)
            straight.next_latents()
        assert straight.digests == other.chunks, "exactly as the other one stood"
    same = film_record(engine.branch("ada", first, 3))
    assert same.chunks == record.chunks, "without another prompt or seed, the same video"
    engine.close()


def film_record(run: Run) -> SessionRecord:
    """The session file of a run that comes to its end."""
    finished = read(run, is_finished, timeout=60)[-1]
    assert isinstance(finished, RunFinished) and finished.session_file is not None, finished
    return SessionRecord.read(finished.session_file)


def test_takes_are_kept_as_long_as_their_viewer_watches_one_of_them() -> None:
    engine = fakes.make_engine(FakeModels(chunk_s=0.01), buffer_ahead_s=1, retention_s=0.5)
    first = engine.start("ada", MEADOW, seed=7)
    read(first, is_segment(2))
    branch = engine.branch("ada", first, 2, prompt=JUMP)
    read(first, is_finished)
    begun = time.monotonic()
    while time.monotonic() - begun < 1.5:
        assert engine.playhead(branch.token, 2.0 + time.monotonic() - begun, True)
        branch.presence.follow()
        if time.monotonic() - begun > 0.7:
            assert engine.claim("ada after a reload", branch.token) is branch
        time.sleep(0.05)
    assert engine.exists(first)
    branch.stop("user")
    wait_for(lambda: not engine.exists(first) and not engine.exists(branch))
    engine.close()


@pytest.mark.slow
def test_ten_branches_of_one_video_take_bounded_memory_and_each_leaves_what_replays(
    tiny_folder: Path, tiny_models: ModelBundle
) -> None:
    engine = fakes.make_engine(tiny_models, opener=open_session, max_video_s=4.5, buffer_ahead_s=99)
    first = engine.start("ada", MEADOW, seed=7)
    record = film_record(first)
    latents = first.store.latents()
    gc.collect()
    before = num_tensors_like(latents[1])
    for number in range(10):
        chunk, switch = 1 + number % 4, SWITCH_MODES[number % 3]
        branch = engine.branch("ada", first, chunk, prompt=JUMP, switch=switch, seed=number or None)
        finished = read(branch, is_finished, timeout=60)[-1]
        assert isinstance(finished, RunFinished) and finished.video and finished.session_file
        made = SessionRecord.read(finished.session_file)
        assert made.chunks[:chunk] == record.chunks[:chunk], "digests of the take that it left"
        assert made.chunks[chunk] != record.chunks[chunk]
        same = [torch.equal(*both) for both in zip(branch.store.latents(), latents, strict=False)]
        assert all(same[:chunk]) and not same[chunk]
        with av.open(str(finished.video)) as film:
            assert sum(1 for _ in film.decode(video=0)) == 72
        assert main(["replay", str(finished.session_file), "--verify", "--model", str(tiny_folder)]) == 0
    wait_for(lambda: engine.status().running == 0)
    assert len(list(engine.runs)) == 11
    assert all(len(run.events.kept()) <= KEPT_EVENTS for run in engine.runs)
    del same
    gc.collect()
    assert num_tensors_like(latents[1]) == before, "a take that has ended holds no latents"
    engine.close()


def test_takes_are_kept_anew_while_another_one_is_made(engine: Engine) -> None:
    first = engine.start("ada", MEADOW, seed=7)
    film(first)
    wait_for(lambda: first.status is RunStatus.FINISHED)
    branch = engine.branch("ada", first, 2, prompt=JUMP)
    ended = first.lifecycle.changed
    engine.keep_takes(branch)
    assert first.lifecycle.changed > ended


def num_tensors_like(latents: torch.Tensor) -> int:
    return sum(type(one) is torch.Tensor and one.shape == latents.shape for one in gc.get_objects())


@pytest.mark.parametrize(("switch", "num_frames"), [("soft", 36), ("hard", 33), ("keep", 36)])
def test_a_branch_of_a_given_length_ends_with_its_last_chunk(
    tiny_models: ModelBundle, switch: SwitchMode, num_frames: int
) -> None:
    engine = fakes.make_engine(tiny_models, opener=open_session)
    first = engine.start("ada", MEADOW, seed=7)
    read(first, is_segment(2), timeout=60)
    branch = engine.branch("ada", first, 2, prompt=JUMP, switch=switch, length=3)
    finished = read(branch, is_finished, timeout=60)[-1]
    assert isinstance(finished, RunFinished) and finished.reason == "complete"
    assert branch.num_chunks == branch.store.num_chunks == 5
    assert branch.store.num_frames == 21 + num_frames, "a cut shortens the chunk at which it comes"
    again = engine.branch("ada", branch, 5)
    segment = read(again, is_segment(5), timeout=60)[-1].segment  # type: ignore[union-attr]
    assert (segment.first_frame, segment.prompt) == (21 + num_frames, JUMP)
    engine.close()


def test_a_take_that_has_ended_can_be_forgotten_and_one_that_is_made_cannot(engine: Engine) -> None:
    first = engine.start("ada", MEADOW, seed=7)
    film(first)
    branch = engine.branch("ada", first, 2, prompt=JUMP)
    with pytest.raises(BusyError, match="still being made"):
        engine.forget(branch.token)
    assert not engine.forget("guess")
    wait_for(lambda: first.status is RunStatus.FINISHED)
    assert engine.forget(first.token) and not first.store.folder.exists()
    assert not engine.exists(first) and not engine.forget(first.token)
    assert len(film(branch)[0]) == 72, "its branch needs it no more"


def test_of_a_viewer_so_many_takes_are_kept_and_those_that_lead_to_the_newest_stay() -> None:
    engine = fakes.make_engine(FakeModels(chunk_s=0.001), max_video_s=4.5, buffer_ahead_s=99, max_takes=2)
    first = engine.start("ada", MEADOW, seed=7)
    film(first)
    takes = [first]
    for number in range(4):
        wait_for(lambda: takes[-1].status is RunStatus.FINISHED)
        takes.append(engine.branch("ada", first, 1, prompt=f"prompt {number}"))
        film(takes[-1])
    assert [engine.exists(take) for take in takes] == [True, False, False, True, True]
    wait_for(lambda: takes[-1].status is RunStatus.FINISHED)
    film(engine.start("ada", MEADOW, seed=7))
    assert not engine.exists(first), "another video descends from none of them"
    engine.close()


def test_nobody_waits_while_a_branch_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = fakes.make_engine(FakeModels(chunk_s=0.001), max_video_s=4.5, buffer_ahead_s=99)
    first = engine.start("ada", MEADOW, seed=7)
    film(first)
    is_copying, may_go_on = threading.Event(), threading.Event()
    plain = RunStore.checkpoints

    def slowly(store: RunStore, num_chunks: int):
        for pair in plain(store, num_chunks):
            is_copying.set()
            assert may_go_on.wait(30)
            yield pair

    monkeypatch.setattr(RunStore, "checkpoints", slowly)
    with ThreadPoolExecutor() as pool:
        branch = pool.submit(engine.branch, "ada", first, 2, prompt=JUMP)
        gone = pool.submit(engine.branch, "eve", first, 2, prompt=JUMP)
        assert is_copying.wait(30)
        assert len(film(engine.start("bob", MEADOW, seed=7))[0]) == 72
        may_go_on.set()
        assert len(film(branch.result())[0]) == len(film(gone.result())[0]) == 72
    engine.close()


def test_a_branch_of_a_video_that_is_forgotten_meanwhile_is_refused_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = fakes.make_engine(FakeModels(chunk_s=0.001), max_video_s=4.5, buffer_ahead_s=99)
    first = engine.start("ada", MEADOW, seed=7)
    film(first)
    wait_for(lambda: first.status is RunStatus.FINISHED)
    plain = RunStore.checkpoints

    def late(store: RunStore, num_chunks: int):
        assert engine.forget(first.token)
        return plain(store, num_chunks)

    monkeypatch.setattr(RunStore, "checkpoints", late)
    with pytest.raises(SessionFileError, match="That video is no longer kept"):
        engine.branch("ada", first, 2, prompt=JUMP)
    assert not list(engine.runs) and not [one for one in engine.folder.iterdir() if one.is_dir()]
    engine.close()
