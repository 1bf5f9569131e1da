"""Runs that begin, and runs that are found on disk."""

from dataclasses import replace
from pathlib import Path

from longlive.serving.limits import Limits
from longlive.serving.metrics import Metrics
from longlive.serving.observer import Observer
from longlive.serving.runs.creation import create_run, load_run
from longlive.serving.runs.store.run_store import RunStore
from tests.support.fakes import tiny_config

ENLARGED = replace(tiny_config(), display_scale=3)


def test_the_pictures_of_a_run_keep_their_size_over_a_restart(tmp_path: Path) -> None:
    observer = Observer(Metrics())
    run = create_run("ada", tmp_path / "run", ENLARGED, Limits(), observer, seed=7, prompt="a ball")
    assert run.build_job(exact=True).scale == 2, "the browser does the rest"
    again = load_run(RunStore.read(run.store.folder), ENLARGED, Limits(), observer)
    assert again.build_job(exact=True).scale == 2


def test_a_run_that_does_not_say_is_as_large_as_all_were_then(tmp_path: Path) -> None:
    store = RunStore(tmp_path, {"key": "00", "seed": 7, "container": "mp4"})
    run = load_run(store, ENLARGED, Limits(), Observer(Metrics()))
    assert run.build_job(exact=True).scale == 3
