"""A run that makes a recorded video again, and compares every chunk with its digest."""

import base64
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from longlive import ModelBundle
from longlive.config import SwitchMode
from longlive.errors import SessionFileError
from longlive.generation.session_file import PromptEvent, SessionRecord
from longlive.generation.storyboard import Scene
from longlive.prompts import PromptText
from longlive.serving.engine import Engine
from longlive.serving.executors.events import SegmentEvent
from longlive.serving.executors.model_runner import ModelRunner, open_session
from longlive.serving.runs.events import RunEvent, RunFinished
from longlive.serving.runs.recording import MAX_CHUNKS
from longlive.serving.runs.run import Run
from tests.support import fakes
from tests.support.fakes import FakeModels, LosingExecutor
from tests.support.page_client import cards_of
from tests.support.run_reader import codes, drain, is_finished, is_segment, read, wait_for

MEADOW, JUMP, CUBE = "a red ball stands on a green meadow", "the red ball jumps", "a blue cube"


@pytest.fixture(scope="module")
def real(tiny_models: ModelBundle) -> Iterator[Engine]:
    """An engine whose videos last 3 s: 5 chunks, of which the last is cut short."""
    engine = fakes.make_engine(tiny_models, opener=open_session, max_video_s=3.0, buffer_ahead_s=99)
    yield engine
    engine.close()


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = fakes.make_engine(FakeModels(chunk_s=0.01), max_video_s=4.5, buffer_ahead_s=99)
    yield engine
    engine.close()


def recorded(run: Run) -> SessionRecord:
    """The session file of a run that comes to its end."""
    finished = read(run, is_finished, timeout=60)[-1]
    assert isinstance(finished, RunFinished) and finished.session_file is not None, finished
    return SessionRecord.read(finished.session_file)


def marks(run: Run) -> list[bool | None]:
    """What is said of each chunk, in order, of a run that comes to its end."""
    return marks_of(read(run, is_finished, timeout=60))


def marks_of(events: list[RunEvent]) -> list[bool | None]:
    segments = [event for event in events if isinstance(event, SegmentEvent) and event.segment.ends_chunk]
    return [event.matches for event in segments]


def started(engine: Engine) -> Run:
    script = [Scene(1.0, JUMP, "soft"), Scene(2.0, CUBE, "hard")]
    return engine.start("ada", MEADOW, seed=2**60 + 7, script=script)


def begun_with_a_picture(engine: Engine) -> Run:
    config = engine.executor.config
    pictures = np.random.default_rng(0).integers(0, 255, (1, config.height, config.width, 3), np.uint8)
    return engine.start("ada", MEADOW, seed=7, start=pictures)


def branched(engine: Engine) -> Run:
    """A branch with another seed from its second chunk on."""
    parent = started(engine)
    recorded(parent)
    return engine.branch("ada", parent, 2, prompt=CUBE, switch="keep", seed=9)


@pytest.mark.parametrize("make", [started, begun_with_a_picture, branched])
def test_on_the_same_machine_every_chunk_is_the_same(real: Engine, make: Callable[[Engine], Run]) -> None:
    record = recorded(make(real))
    again = real.replay("bob", record)
    assert marks(again) == [True] * len(record.chunks)
    other = SessionRecord.read(next(again.store.folder.glob("longlive-*.json")))
    assert other == record, "the new session file says the same: noise, options, picture, prompts, digests"
    verification = again.recording.verification()
    assert verification is not None and asdict(verification) == {
        "chunks": len(record.chunks),
        "made": len(record.chunks),
        "same": len(record.chunks),
        "different": 0,
        "first_difference": None,
        "has_left": False,
    }


def test_a_changed_digest_is_found_at_exactly_that_chunk(real: Engine) -> None:
    record = recorded(started(real))
    chunks = list(record.chunks)
    chunks[2] = "0" * 16
    again = real.replay("bob", replace(record, chunks=tuple(chunks)))
    assert marks(again) == [True, True, False, True, True]
    verification = again.recording.verification()
    assert verification is not None
    assert (verification.same, verification.different, verification.first_difference) == (4, 1, 2)


def test_another_seed_differs_from_the_first_chunk_on(real: Engine) -> None:
    record = recorded(started(real))
    assert marks(real.replay("bob", replace(record, seed=8))) == [False] * 5


def test_a_run_goes_on_after_what_is_recorded_and_says_so() -> None:
    engine = fakes.make_engine(FakeModels(chunk_s=0.01), buffer_ahead_s=99)
    record = replace(recorded_with_cards(engine, 3), prompts=(event(0, MEADOW), event(7, CUBE, "soft")))
    again = engine.replay("bob", record)
    events = read(again, is_segment(8))
    assert marks_of(events) == [True] * 3 + [None] * 6
    assert codes(events) == ["recording_over"]
    last = [one for one in events if isinstance(one, SegmentEvent)][-1]
    assert last.segment.prompt == CUBE, "prompts that were still to come keep their chunk"
    engine.close()


def event(chunk: int, text: str, switch: SwitchMode | None = None) -> PromptEvent:
    return PromptEvent(chunk, PromptText(text), switch)


def recorded_with_cards(engine: Engine, num_chunks: int) -> SessionRecord:
    """What is recorded of a run of test cards after so many chunks."""
    run = engine.start("eve", MEADOW, seed=7)
    read(run, is_segment(num_chunks - 1))
    record = run.store.record()
    run.stop("closed")
    assert record is not None
    return replace(record, chunks=record.chunks[:num_chunks])


def test_from_the_viewers_own_prompt_on_nothing_is_compared() -> None:
    engine = fakes.make_engine(FakeModels(chunk_s=0.02), max_video_s=5.0, buffer_ahead_s=1.5)
    record = replace(recorded_with_cards(engine, 2), chunks=("00",) * 7)
    again = engine.replay("bob", replace(record, prompts=(event(0, MEADOW), event(6, JUMP, "soft"))))
    read(again, is_segment(1))
    scheduled = again.prompt(CUBE)
    assert 1 < scheduled.chunk < 6
    found = marks(again)
    assert found[scheduled.chunk - 2 :] == [None] * len(found[scheduled.chunk - 2 :])
    made = again.store.record()
    assert made is not None and [one.text for one in made.prompts] == [MEADOW, CUBE], (
        "the script is cancelled"
    )
    verification = again.recording.verification()
    assert verification is not None and (verification.made, verification.different) == (scheduled.chunk,) * 2
    assert verification.has_left
    assert "recording_over" not in codes(drain(again))
    engine.close()


def test_a_branch_of_it_is_a_run_like_any_other(engine: Engine) -> None:
    again = engine.replay("bob", recorded(engine.start("ada", MEADOW, seed=7)))
    assert marks(again) == [True] * 7
    branch = engine.branch("bob", again, 3, prompt=CUBE)
    assert branch.recording.record is None and set(marks(branch)) == {None}
    cards = cards_of(str(next(branch.store.folder.glob("*.mp4"))))
    assert cards == [(frame, int(frame >= 33)) for frame in range(72)]


def test_it_is_still_compared_after_its_worker_is_lost_and_after_a_restart(tmp_path: Path) -> None:
    models = FakeModels(chunk_s=0.01)
    executor = LosingExecutor(ModelRunner(models, open_session=fakes.FakeSession), losses=[2])
    engine = Engine(executor, folder=tmp_path)
    known = fakes.make_engine(FakeModels(chunk_s=0.01), max_video_s=9.0, buffer_ahead_s=99)
    run = engine.replay("bob", recorded(known.start("ada", MEADOW, seed=7)))
    assert marks_of(read(run, is_segment(3)))[:3] == [True] * 3, "the third was lost, and made once more"
    engine.close()
    again = fakes.make_engine(models, folder=tmp_path)
    found = again.claim("bob", run.token)
    assert found is not None and found.num_chunks >= 2
    wait_for(lambda: found.num_chunks >= 4)
    assert [found.recording.matches(chunk) for chunk in range(5)][:4] == [True] * 4
    for one in (known, again):
        one.close()


def test_a_run_whose_record_is_damaged_on_disk_is_not_found(tmp_path: Path) -> None:
    engine = fakes.make_engine(FakeModels(chunk_s=0.01), folder=tmp_path)
    run = engine.replay("bob", recorded_with_cards(engine, 2))
    read(run, is_segment(0))
    engine.close()
    (run.store.folder / "recording.json").write_text("{")
    again = fakes.make_engine(FakeModels(), folder=tmp_path)
    assert again.find(run.token) is None
    again.close()


def test_what_cannot_be_made_again_is_told_and_nothing_is_started(engine: Engine) -> None:
    record = recorded_with_cards(engine, 2)
    wait_for(lambda: not list(engine.runs))
    long = (event(0, MEADOW), *(event(at, JUMP, "soft") for at in range(1, 1002)))
    for other, words in (
        (replace(record, model_digest="ab" * 32), "another model"),
        (replace(record, dtype="bfloat16"), "another dtype"),
        (replace(record, quantization="int8"), "another quantization"),
        (replace(record, stream=replace(record.stream, window=10**9)), r"other options.*window 1000000000"),
        (replace(record, stream=replace(record.stream, window=-1)), "other options.*window -1"),
        (replace(record, start="not base64"), "cannot be read"),
        (replace(record, start=base64.b64encode(zlib.compress(b"123")).decode()), "not those of this model"),
        (replace(record, chunks=()), "no chunks yet"),
        (replace(record, chunks=("00",) * (MAX_CHUNKS + 1)), "20,001 chunks"),
        (replace(record, prompts=long), "1,002 prompts"),
        (replace(record, prompts=(event(0, "x" * 2001),)), "2,001 characters"),
    ):
        with pytest.raises(SessionFileError, match=words):
            engine.replay("bob", other)
    assert not list(engine.runs)
