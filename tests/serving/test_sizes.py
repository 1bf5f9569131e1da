"""Runs of a model that has several sizes: each has its own for all its life."""

import json
import logging
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from longlive import ConfigError, ModelBundle, Session
from longlive.errors import SessionFileError
from longlive.generation.session_file import SessionRecord
from longlive.generation.storyboard import Scene
from longlive.serving.engine import Engine
from longlive.serving.executors.events import SegmentEvent
from longlive.serving.executors.model_runner import ModelRunner, open_session
from longlive.serving.executors.ray import Worker
from longlive.serving.executors.thread import WARM_UP_JOB, ThreadExecutor
from longlive.serving.limits import Limits
from longlive.serving.runs.events import RunFinished
from longlive.serving.runs.run import Run
from longlive.storybook.judge import judge
from longlive.weights.registry import config_of
from tests.support.fakes import PORTRAIT, SQUARE, FakeModels, make_engine, sized_cards, with_less_memory
from tests.support.page_client import size_of
from tests.support.run_reader import is_finished, is_segment, read

RED, BLUE = "a red ball", "a blue cube"
UPRIGHT = (32, 48)


@pytest.fixture
def real(two_size_models: ModelBundle) -> Iterator[Engine]:
    engine = make_engine(two_size_models, opener=open_session, max_video_s=3.0, buffer_ahead_s=99)
    yield engine
    engine.close()


def finished(run: Run) -> tuple[Path, SessionRecord]:
    """The video of a run that comes to its end, and its session file."""
    last = read(run, is_finished, timeout=60)[-1]
    assert isinstance(last, RunFinished) and last.video and last.session_file, last
    return last.video, SessionRecord.read(last.session_file)


def test_a_run_is_made_in_its_size_as_a_session_makes_it(real: Engine, two_size_models: ModelBundle) -> None:
    video, record = finished(real.start("ada", RED, seed=7, size=UPRIGHT))
    assert record.size == size_of(video) == UPRIGHT
    with Session(two_size_models.at_size(UPRIGHT), RED, seed=7) as session:
        for _ in record.chunks:
            session.next_latents()
        assert session.digests == record.chunks
    own, record = finished(real.start("ada", RED, seed=7))
    assert record.size == size_of(own) == (48, 32), "who asks for none gets the model's own"


def test_branches_replays_and_their_files_have_the_size(real: Engine) -> None:
    parent = real.start("ada", RED, seed=7, script=[Scene(1.0, BLUE, "hard")], size=UPRIGHT)
    _, record = finished(parent)
    branch = real.branch("ada", parent, 2, prompt=BLUE, switch="soft")
    video, branched = finished(branch)
    assert size_of(video) == branched.size == branch.size == UPRIGHT
    assert branched.chunks[:2] == record.chunks[:2]
    for made in (record, branched):
        again = real.replay("bob", made)
        video, other = finished(again)
        verification = again.recording.verification()
        assert verification is not None and verification.same == len(made.chunks)
        assert other == made and size_of(video) == again.size == UPRIGHT


def test_a_run_that_is_found_after_a_restart_goes_on_in_its_size(tmp_path: Path) -> None:
    models = sized_cards(chunk_s=0.01)
    engine = make_engine(models, folder=tmp_path, max_video_s=4.5, buffer_ahead_s=99)
    run = engine.start("ada", RED, seed=7, size=SQUARE)
    read(run, is_segment(2))
    token = run.token
    engine.close()
    assert json.loads((run.store.folder / "story.jsonl").read_text().splitlines()[0])["story"]["size"] == [
        80,
        80,
    ]
    engine = make_engine(sized_cards(chunk_s=0.01), folder=tmp_path, max_video_s=4.5, buffer_ahead_s=99)
    again = engine.claim("ada", token)
    assert again is not None and again.size == SQUARE
    video, record = finished(again)
    assert (size_of(video), record.size) == ((160, 160), SQUARE)
    engine.close()


def test_a_run_whose_size_is_not_served_any_more_is_left_in_the_store(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine(sized_cards(chunk_s=0.01), folder=tmp_path)
    run = engine.start("ada", RED, seed=7, size=PORTRAIT)
    read(run, is_segment(1))
    engine.close()
    with caplog.at_level(logging.WARNING):
        engine = make_engine(FakeModels(), folder=tmp_path)
    assert "size is '64x96', but the pictures of test cards have 96x64" in caplog.text
    assert engine.find(run.token) is None and (run.store.folder / "story.jsonl").is_file()
    engine.close()


def test_runs_of_an_earlier_version_have_the_models_own_size(tmp_path: Path) -> None:
    engine = make_engine(sized_cards(chunk_s=0.01), folder=tmp_path)
    run = engine.start("ada", RED, seed=7)
    read(run, is_segment(1))
    engine.close()
    story = run.store.folder / "story.jsonl"
    first, *others = story.read_text().splitlines()
    facts = json.loads(first)
    del facts["story"]["size"]
    story.write_text("\n".join([json.dumps(facts), *others, ""]))
    engine = make_engine(sized_cards(chunk_s=0.01), folder=tmp_path)
    found = engine.find(run.token)
    assert found is not None and found.size == (96, 64)
    engine.close()


def test_a_size_that_the_model_does_not_have_is_told_before_anything_is_made(real: Engine) -> None:
    with pytest.raises(ConfigError, match="the pictures of two-sizes have 48x32 or 32x48"):
        real.start("ada", RED, seed=7, size=(48, 48))
    _, record = finished(real.start("ada", RED, seed=7))
    with pytest.raises(SessionFileError, match="have 64x32 pixels, but two-sizes makes 48x32 or 32x48 here"):
        real.replay("ada", replace(record, width=64))
    assert len(list(real.runs)) == 1


def test_status_lists_the_sizes_of_each_model() -> None:
    engine = make_engine(sized_cards())
    assert engine.status().sizes == {"test cards": ((96, 64), PORTRAIT, SQUARE)}
    engine.close()


def test_a_run_that_goes_on_with_less_memory_keeps_its_size() -> None:
    models = sized_cards(chunk_s=0.01, out_of_memory=[("denoise", 2)], smaller=with_less_memory)
    engine = make_engine(models, max_video_s=3.0, buffer_ahead_s=99)
    video, record = finished(engine.start("ada", RED, seed=7, size=PORTRAIT))
    assert record.size == PORTRAIT and size_of(video) == (128, 192)
    engine.close()


def test_a_session_of_another_size_is_downgraded_like_any(two_size_models: ModelBundle) -> None:
    """The bundle of such a session is not the runner's own object."""
    profile = replace(two_size_models.runtime, downgrade=lambda one: replace(one, runtime=less))
    less = replace(profile, downgrade=None, max_streams=1)
    runner = ModelRunner(replace(two_size_models, runtime=profile))
    first, second = (runner.open(replace(WARM_UP_JOB, size=UPRIGHT)) for _ in range(2))
    for session in (first, second):
        session.next_latents()
        assert runner.downgrade(session)
        assert session.models.runtime is less and session.models.config.size == UPRIGHT
        assert session.next_latents().latents.shape == (1, 3, 4, 6, 4)
        assert not runner.downgrade(session), "there is nothing smaller"
    assert runner.models.config.size == (48, 32)


def test_only_pictures_of_the_size_that_a_judge_knows_are_judged() -> None:
    config = replace(config_of("storybook"), sizes=((80, 128),))
    runner = ModelRunner(FakeModels(config=config))
    assert runner.judge_for(None) is runner.judge_for((128, 80)) is judge
    assert runner.judge_for((80, 128)) is None


def test_a_worker_of_ray_makes_a_job_in_its_size(two_size_models: ModelBundle) -> None:
    worker = Worker(lambda _: ThreadExecutor(ModelRunner(two_size_models)))
    assert not worker.warm_up()
    job = replace(WARM_UP_JOB, size=UPRIGHT, limits=Limits(max_video_s=0.5, buffer_ahead_s=99))
    events = list(worker.events(worker.start(pickle.loads(pickle.dumps(job)))))
    sizes = {one.checkpoint.record.size for one in events if isinstance(one, SegmentEvent) and one.checkpoint}
    assert sizes == {UPRIGHT}
