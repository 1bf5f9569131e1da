"""What 65714c2 wrote works today: its session file, and a story that it left to rest.

The last bits of latents depend on the instructions that torch picks for a CPU, and on torch itself. The
fixtures were recorded with AVX2 alone, which newer processors have as well, so they are made again in
a process that is held to it; a third test compares values, with whatever torch and CPU there are.
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from longlive import Session, load_models
from longlive.cli import main
from longlive.generation.session_file import SessionRecord
from longlive.serving.engine import Engine
from longlive.serving.executors.model_runner import ModelRunner
from longlive.serving.executors.thread import ThreadExecutor
from longlive.serving.limits import Limits
from longlive.serving.runs.store.store_folder import stored_runs
from tests.support.paths import ROOT
from tests.support.run_reader import is_finished, read

FOLDER = ROOT / "tests" / "compatibility" / "65714c2"
SESSION = FOLDER / "session.json"
TOKEN = "PgdrdNZxbFqUU1bEwsb0jA"
NUM_KEPT = 4
"""Chunks of the session file that the resting story holds."""
ARITHMETIC = {"OMP_NUM_THREADS": "1", "MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "avx2"}
TOLERANCE = 2e-4
"""Other instructions of the same CPU made up to 2.5e-5; a recache left out, 6."""

as_recorded = pytest.mark.skipif(
    torch.__version__.split("+")[0] != "2.13.0"
    or torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="recorded by torch 2.13.0 with AVX2; other bits elsewhere, where only values are compared",
)


@pytest.fixture(scope="module")
def made_again(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """What main() prints, with the arithmetic of the recording."""
    folder = shutil.copytree(FOLDER / "stories", tmp_path_factory.mktemp("recorded") / "stories")
    done = subprocess.run(
        [sys.executable, "-m", "tests.test_compatibility", str(folder)],
        cwd=ROOT,
        env=os.environ | ARITHMETIC,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


def replayed() -> dict:
    """What ``longlive replay`` prints of the session file."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        main(["replay", str(SESSION), "--verify", "--json"])
    return json.loads(printed.getvalue())


def finished_story(folder: Path) -> dict:
    """The session file of the resting story after an engine has taken it up and told it to its end."""
    torch.set_num_threads(1)
    seconds = 6.3
    limits = Limits(max_video_s=seconds, buffer_ahead_s=seconds)
    engine = Engine(ThreadExecutor(ModelRunner(load_models("storybook"))), folder=folder, limits=limits)
    run = engine.claim("viewer", TOKEN)
    assert run is not None and run.num_chunks == NUM_KEPT, "the story was not found"
    finished = read(run, is_finished, timeout=400)[-1]
    assert finished.session_file and finished.video, finished.reason
    session = json.loads(finished.session_file.read_text())
    engine.close()
    return session


@as_recorded
@pytest.mark.slow
def test_its_session_file_is_replayed_bit_for_bit(made_again: dict[str, dict]) -> None:
    made = made_again["replay"]
    assert (made["chunks"], made["first_difference"]) == (9, None)


@as_recorded
def test_its_story_goes_on_in_the_engine_bit_for_bit(made_again: dict[str, dict]) -> None:
    """Resumed in mid-story, with two prompts still to come, it equals the run that was never interrupted."""
    told, whole = made_again["story"], json.loads(SESSION.read_text())
    assert told["chunks"] == whole["chunks"]
    assert {name: told[name] for name in whole} == whole | {"code_version": told["code_version"]}


def latents_of(session: Session, end: int) -> list[Tensor]:
    return [session.next_latents().latents for _ in range(session.num_chunks, end)]


def test_values_are_the_recorded_ones_with_any_arithmetic(tmp_path: Path) -> None:
    models, record = load_models("storybook"), SessionRecord.read(SESSION)
    (story,) = stored_runs(shutil.copytree(FOLDER / "stories", tmp_path / "stories"))
    past = story.resume_state(exact=True)
    assert past is not None and past.record.chunks == record.chunks[:NUM_KEPT]
    planned = [(prompt.chunk, prompt.text, prompt.switch) for prompt in story.prompts]
    assert planned[1:] == [(prompt.chunk, prompt.text, prompt.switch) for prompt in record.prompts[1:]]
    whole = latents_of(Session.of_record(models, record), len(record.chunks))
    resumed = replace(past.record, prompts=record.prompts)
    rest = latents_of(Session.resume(models, resumed, past.latents, exact=True), len(record.chunks))
    for index, (made, kept) in enumerate(zip(whole, [*past.latents, *rest], strict=True)):
        difference = (made - kept).abs().max().item()
        assert difference <= TOLERANCE, f"chunk {index} differs by {difference:.1e}"


if __name__ == "__main__":
    print(json.dumps({"replay": replayed(), "story": finished_story(Path(sys.argv[1]))}))
