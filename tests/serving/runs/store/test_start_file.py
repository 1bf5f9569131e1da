"""Runs that begin with a picture: over a restart, a lost worker, other executors, and with a damaged file."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from longlive import ModelBundle, Session
from longlive.errors import MediaError, SessionFileError
from longlive.serving.engine import Engine
from longlive.serving.executors.model_runner import ModelRunner
from longlive.serving.limits import Limits
from longlive.serving.metrics import Metrics
from longlive.serving.observer import Observer
from longlive.serving.runs.creation import create_run, load_run
from longlive.serving.runs.run import Run
from longlive.serving.runs.store.run_store import RunStore
from tests.support.fakes import LosingExecutor
from tests.support.run_reader import is_finished, read

RED = "a red ball"
PICTURES = np.random.default_rng(0).integers(0, 256, (25, 32, 48, 3)).astype(np.uint8)


def created(models: ModelBundle, folder: Path) -> Run:
    observer = Observer(Metrics())
    return create_run("ada", folder, models.config, Limits(), observer, seed=7, prompt=RED, start=PICTURES)


def loaded(models: ModelBundle, folder: Path) -> Run:
    return load_run(RunStore.read(folder), models.config, Limits(), Observer(Metrics()))


def test_the_pictures_wait_on_disk_until_the_first_chunk_is_there(
    tiny_models: ModelBundle, tmp_path: Path
) -> None:
    run = created(tiny_models, tmp_path / "run")
    assert run.store.num_bytes > PICTURES.nbytes
    for one in (run, loaded(tiny_models, tmp_path / "run")):
        job = pickle.loads(pickle.dumps(one.build_job(exact=True)))
        assert np.array_equal(job.start, PICTURES) and job.resume is None
    assert created(tiny_models, tmp_path / "other").build_job(exact=True).start is not None
    plain = create_run(
        "bob", tmp_path / "plain", tiny_models.config, Limits(), Observer(Metrics()), seed=7, prompt=RED
    )
    assert plain.build_job(exact=True).start is None


@pytest.mark.parametrize("content", [None, b"", PICTURES.tobytes()[:-1]], ids=["gone", "empty", "cut off"])
def test_a_damaged_file_is_told(tiny_models: ModelBundle, tmp_path: Path, content: bytes | None) -> None:
    created(tiny_models, tmp_path / "run")
    file = tmp_path / "run" / "start.bin"
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    with pytest.raises(SessionFileError, match="picture that the video begins with"):
        loaded(tiny_models, tmp_path / "run").build_job(exact=True)


def test_a_full_disk_leaves_nothing(
    tiny_models: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(MediaError, match="No space left"):
        created(tiny_models, tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("losses", [(), (1,), (0, 2, 4)], ids=str)
def test_a_lost_worker_changes_nothing_of_the_video(
    tiny_models: ModelBundle, losses: Sequence[int], overlap: bool
) -> None:
    """Also one that is lost before all of the pictures were shown."""
    executor = LosingExecutor(ModelRunner(tiny_models, overlap=overlap), list(losses))
    engine = Engine(executor, limits=Limits(max_video_s=4, buffer_ahead_s=99), resume="exact")
    run = engine.start("viewer", RED, seed=7, start=PICTURES)
    read(run, is_finished, timeout=120)
    record = run.store.record()
    assert record is not None and not executor.losses
    session = Session(tiny_models, RED, seed=7, start=PICTURES)
    expected = [session.next_latents().digest for _ in record.chunks]
    assert list(record.chunks) == expected and record.start == session.record().start
    engine.close()


def test_the_session_file_of_a_run_replays(tiny_models: ModelBundle, tmp_path: Path) -> None:
    executor = LosingExecutor(ModelRunner(tiny_models), [])
    engine = Engine(executor, limits=Limits(max_video_s=3, buffer_ahead_s=99))
    run = engine.start("viewer", RED, seed=7, start=PICTURES[:1])
    *_, finished = read(run, is_finished, timeout=120)
    assert finished.session_file is not None  # type: ignore[union-attr]
    session = Session.load(tiny_models, finished.session_file)  # type: ignore[union-attr]
    record = run.store.record()
    assert record is not None and session.digests == record.chunks
    again = RunStore.read(run.store.folder).record()
    assert again is not None and again.start == record.start, "also as another process reads it"
    engine.close()
