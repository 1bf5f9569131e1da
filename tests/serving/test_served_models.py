"""Several models behind one engine: together in memory, or in turns; each makes what it makes alone."""

import dataclasses
import json
import logging
import os
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from longlive import CheckpointError, ConfigError, FitError, Session
from longlive.generation.session_file import SessionRecord
from longlive.runtime.footprint import footprint_of
from longlive.runtime.memory import Preset, needed_bytes
from longlive.runtime.startup import RuntimeOptions, ready_models
from longlive.serving import served_models
from longlive.serving.engine import Engine
from longlive.serving.executors import model_runner
from longlive.serving.executors.events import NoticeEvent
from longlive.serving.executors.model_runner import ModelRunner
from longlive.serving.executors.thread import OnDemandExecutor
from longlive.serving.limits import Limits
from longlive.serving.runs.events import RunFinished
from longlive.serving.runs.run import Run
from longlive.serving.scheduler import RunStatus
from longlive.serving.served_models import ServedModels, open_models
from longlive.weights.registry import resolve
from tests.support.fakes import FakeModels, FakeSession, make_engine, tiny_config
from tests.support.run_reader import codes, is_finished, is_segment, read
from tests.support.tiny_model import write_tiny_model

OPTIONS = RuntimeOptions(device="cpu")
SECONDS = 3.0
RED = "a red ball"
PATIENCE_S = 300.0
PATIENT = {"heartbeat_timeout_s": 1e6, "disconnect_timeout_s": 1e6, "no_player_timeout_s": 1e6}
"""However slow the machine is, nobody is taken for away."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two models: chunks of three latents, and of one."""
    root = tmp_path_factory.mktemp("models")
    write_tiny_model(root / "a", name="wide")
    write_tiny_model(root / "b", name="framewise", chunk=1, window=9, sink=1, switch="keep")
    return [str(root / "a"), str(root / "b")]


@pytest.fixture(scope="module")
def alone(folders: list[str]) -> dict[str, tuple[str, ...]]:
    """By name of the model, the digests of what it makes where there is no other."""
    digests = {}
    for folder in folders:
        models = ready_models(folder, OPTIONS, str)
        with Session(models, RED, seed=7) as session:
            while session.seconds < SECONDS:
                session.next_latents()
            digests[models.config.name] = session.digests
    return digests


@pytest.fixture(scope="module")
def room_for_one(folders: list[str]) -> int:
    """Bytes in which each of the models fits, and the two do not."""
    least = []
    for name in folders:
        folder = resolve(name)
        footprint = footprint_of(folder.path, folder.config, OPTIONS.torch_dtype)
        least.append(needed_bytes(footprint, Preset("cpu", "wan"), context=0))
    return max(least) * 15 // 10


@pytest.fixture(autouse=True)
def short_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading makes two chunks that nobody sees."""
    monkeypatch.setattr(model_runner, "WARM_UP_CHUNKS", 1)


@pytest.fixture(scope="module", params=["together", "in turns"])
def models(request: pytest.FixtureRequest, folders: list[str], room_for_one: int) -> ServedModels:
    lines: list[str] = []
    free = room_for_one if request.param == "in turns" else None
    models = open_models(folders, OPTIONS, lines.append, free=free)
    is_told = any("do not fit into the memory together: one at a time" in line for line in lines)
    assert is_told == models.capacity().is_exclusive == (request.param == "in turns")
    return models


@pytest.fixture
def engine(models: ServedModels, tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(
        models, limits=Limits(**PATIENT, max_video_s=SECONDS, buffer_ahead_s=99), folder=tmp_path / "store"
    )
    yield engine
    engine.close()


def finish(run: Run) -> tuple[SessionRecord, list[Any]]:
    """The session file that a run leaves, and its events."""
    events = read(run, is_finished, timeout=PATIENCE_S)
    finished = events[-1]
    assert isinstance(finished, RunFinished) and finished.session_file is not None, finished
    return SessionRecord.read(finished.session_file), events


@pytest.mark.slow
def test_each_makes_what_it_makes_alone_one_after_the_other(
    engine: Engine, alone: dict[str, tuple[str, ...]]
) -> None:
    for number, name in enumerate(["framewise", "wide", "framewise"]):
        record, events = finish(engine.start(f"viewer {number}", RED, seed=7, model=name))
        assert record.chunks == alone[name]
        assert ("model_loading" in codes(events)) == engine.models.capacity().is_exclusive
        assert len(record.chunks) == (5 if name == "wide" else 13)


@pytest.mark.slow
def test_runs_of_both_at_once_do_not_disturb_each_other(
    engine: Engine, alone: dict[str, tuple[str, ...]]
) -> None:
    runs = [engine.start(name, RED, seed=7, model=name) for name in ("wide", "framewise")]
    for run in runs:
        assert finish(run)[0].chunks == alone[run.model]
    status = engine.status()
    assert (status.model, status.models, status.is_alive) == ("wide", ("wide", "framewise"), True)


@pytest.mark.slow
def test_a_branch_keeps_the_model_of_its_parent(engine: Engine, alone: dict[str, tuple[str, ...]]) -> None:
    parent = engine.start("ada", RED, seed=7, model="framewise")
    finish(parent)
    run = engine.branch("bob", parent, 2, prompt="a blue cube", switch="keep")
    record, _ = finish(run)
    assert run.model == "framewise" and run.store.facts["model"] == "framewise"
    assert record.chunks[:2] == alone["framewise"][:2] != record.chunks[2:4]


@pytest.mark.slow
def test_a_run_goes_on_with_its_model_after_a_restart(
    folders: list[str], tmp_path: Path, alone: dict[str, tuple[str, ...]], caplog: pytest.LogCaptureFixture
) -> None:
    options = {"folder": tmp_path, "resume": "exact"}
    engine = Engine(open_models(folders, OPTIONS, str), limits=Limits(**PATIENT, buffer_ahead_s=2), **options)
    run = engine.start("ada", RED, seed=7, model="framewise")
    read(run, is_segment(2), timeout=PATIENCE_S)
    token = run.token
    engine.close()

    with caplog.at_level(logging.WARNING):
        other = Engine(open_models(folders[:1], OPTIONS, str), folder=tmp_path)
    assert "holds a run of the model framewise, which is not served" in caplog.text
    assert other.find(token) is None
    other.close()
    assert run.store.folder.is_dir(), "it stays for an engine that has the model"

    limits = Limits(**PATIENT, max_video_s=SECONDS, buffer_ahead_s=99)
    again = Engine(open_models(folders, OPTIONS, str), limits=limits, **options)
    found = again.claim("ada", token)
    assert found is not None and found.model == "framewise"
    assert finish(found)[0].chunks == alone["framewise"]
    again.close()


def test_runs_that_nobody_can_resume_are_removed_after_a_day(tmp_path: Path) -> None:
    store = tmp_path / "old"
    store.mkdir(parents=True)
    facts = {"key": "k", "model": "gone", "seed": 7, "container": "mp4"}
    (store / "story.jsonl").write_text(json.dumps({"story": facts}) + "\n")
    make_engine(folder=tmp_path).close()
    assert store.is_dir()
    day_ago = time.time() - 90_000
    for path in (store / "story.jsonl", store):
        os.utime(path, (day_ago, day_ago))
    make_engine(folder=tmp_path).close()
    assert not store.exists()


def fake_start(name: str, *_: Any, **__: Any) -> ModelRunner:
    """Test cards in place of a model that is loaded and warm."""
    named = resolve(name).config
    config = dataclasses.replace(tiny_config(), name=named.name, width=named.width, height=named.height)
    return ModelRunner(FakeModels(config=config, chunk_s=0.05), open_session=FakeSession)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The models are found and planned with, but test cards are made."""
    monkeypatch.setattr(served_models, "start", fake_start)


@pytest.fixture
def turns(folders: list[str], room_for_one: int, fakes: None) -> Iterator[Engine]:
    """Two models of test cards that take turns in memory."""
    models = open_models(folders, OPTIONS, str, free=room_for_one)
    engine = Engine(models, limits=Limits(**PATIENT, buffer_ahead_s=2))
    yield engine
    engine.close()


def test_a_model_that_is_missing_is_named_and_the_others_are_served(
    folders: list[str], tmp_path: Path, fakes: None
) -> None:
    lines: list[str] = []
    models = open_models(["no-such-model", folders[1]], OPTIONS, lines.append)
    assert list(models) == ["framewise"]
    assert any("no-such-model is not served: There is no model 'no-such-model'" in line for line in lines)
    with pytest.raises(CheckpointError, match="There is no model 'no-such-model'"):
        open_models(["no-such-model", "nor-this"], OPTIONS, lines.append)
    with pytest.raises(FitError, match="does not fit"):
        open_models(folders, OPTIONS, lines.append, free=1000)
    write_tiny_model(tmp_path / "same", name="wide")
    with pytest.raises(ConfigError, match="several models have this name"):
        open_models([folders[0], str(tmp_path / "same")], OPTIONS, str)


def test_a_model_that_cannot_be_loaded_at_the_start_makes_room_for_the_next(
    folders: list[str], room_for_one: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = folders[:1]

    def start(name: str, *_: Any, **__: Any) -> ModelRunner:
        if name in refused:
            raise FitError("The memory ran out.")
        return fake_start(name)

    monkeypatch.setattr(served_models, "start", start)
    for free in (None, room_for_one):
        lines: list[str] = []
        assert list(open_models(folders, OPTIONS, lines.append, free=free)) == ["framewise"]
        assert any("is not served: The memory ran out." in line for line in lines)
    refused.append(folders[1])
    for free in (None, room_for_one):
        with pytest.raises(FitError, match="ran out"):
            open_models(folders, OPTIONS, str, free=free)


def test_one_at_a_time_is_in_memory(
    folders: list[str], room_for_one: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A weak reference to each model that is loaded, whenever one is."""
    loaded: list[weakref.ref[Any]] = []
    alive: list[int] = []

    def start(name: str, *_: Any, **__: Any) -> ModelRunner:
        alive.append(sum(one() is not None for one in loaded))
        runner = fake_start(name)
        loaded.append(weakref.ref(runner.models))
        return runner

    monkeypatch.setattr(served_models, "start", start)
    models = open_models(folders, OPTIONS, str, free=room_for_one)
    engine = Engine(models, limits=Limits(**PATIENT, max_video_s=1.0, buffer_ahead_s=99))
    for number, name in enumerate(["framewise", "wide", "framewise", "wide"]):
        read(engine.start(f"viewer {number}", RED, seed=7, model=name), is_finished, timeout=PATIENCE_S)
    engine.close()
    assert alive == [0, 0, 0, 0, 0], "whatever was loaded before was let go first"


def test_the_first_is_the_default_and_an_unknown_one_is_named_with_the_others(turns: Engine) -> None:
    assert turns.start("ada", RED, seed=7).model == "wide"
    with pytest.raises(ConfigError, match=r"model is 'sgf', but the models here are wide, framewise"):
        turns.start("bob", RED, seed=7, model="sgf")


def test_a_model_waits_until_the_others_runs_have_ended(turns: Engine) -> None:
    first = turns.start("ada", RED, seed=7, model="wide")
    read(first, is_segment(1), timeout=PATIENCE_S)
    second = turns.start("bob", RED, seed=7, model="framewise")
    third = turns.start("eve", RED, seed=7, model="wide")
    assert [run.status for run in (first, second, third)] == [RunStatus.RUNNING, *[RunStatus.WAITING] * 2]
    assert turns.status().capacity == turns.models["wide"].capacity()
    first.stop("user")
    read(second, is_segment(1), timeout=PATIENCE_S)
    assert third.status is RunStatus.WAITING, "nobody overtakes, and nothing is loaded beside"
    second.stop("user")
    read(third, is_segment(0), timeout=PATIENCE_S)


def test_a_model_that_cannot_be_loaded_later_is_told_and_the_other_goes_on(
    turns: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> ModelRunner:
        raise CheckpointError("weights.safetensors is missing. Fetch the model again.")

    with monkeypatch.context() as patch:
        patch.setattr(served_models, "start", refuse)
        finished = read(turns.start("ada", RED, seed=7, model="framewise"), is_finished, timeout=PATIENCE_S)[
            -1
        ]
    assert isinstance(finished, RunFinished) and finished.failure is not None
    assert (finished.reason, finished.failure.detail[:30]) == ("failed", "weights.safetensors is missing")
    for viewer, model in (("bob", "wide"), ("eve", "framewise")):
        run = turns.start(viewer, RED, seed=7, model=model)
        assert "model_loading" in codes(read(run, is_segment(0), timeout=PATIENCE_S))
        run.stop("user")
        read(run, is_finished, timeout=PATIENCE_S)


def test_a_stream_keeps_the_model_that_it_uses_though_another_is_loaded(turns: Engine) -> None:
    """The scheduler does not let that happen; if it did, no video would break."""
    run = turns.start("ada", RED, seed=7, model="wide")
    read(run, is_segment(0), timeout=PATIENCE_S)
    other = turns.models["framewise"]
    assert isinstance(other, OnDemandExecutor)
    other.load()
    read(run, is_segment(2), timeout=PATIENCE_S)
    run.stop("user")
    assert read(run, is_finished, timeout=PATIENCE_S)[-1].reason == "user"


def test_a_message_that_comes_while_the_model_is_loaded_is_not_lost(
    folders: list[str], room_for_one: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_open = threading.Event()
    is_open.set()

    def start(name: str, *_: Any, **__: Any) -> ModelRunner:
        assert is_open.wait(PATIENCE_S)
        return fake_start(name)

    monkeypatch.setattr(served_models, "start", start)
    limits = Limits(**PATIENT)
    engine = Engine(open_models(folders, OPTIONS, str, free=room_for_one), limits=limits)
    is_open.clear()
    run = engine.start("ada", RED, seed=7, model="framewise")
    events = read(run, lambda event: isinstance(event, NoticeEvent), timeout=PATIENCE_S)
    assert codes(events) == ["model_loading"]
    scheduled = run.prompt("a blue cube")
    run.stop("user")
    is_open.set()
    assert read(run, is_finished, timeout=PATIENCE_S)[-1].reason == "user"
    assert scheduled.chunk >= 0
    engine.close()
