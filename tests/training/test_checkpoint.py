"""What survives: a full disk, a kill while saving, another shape."""

import errno
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from longlive import CheckpointError
from longlive.training.checkpoint import PARTIAL
from tests.support.paths import ROOT
from tests.support.prefork import ForkedProgram
from tests.support.tiny_recipe import tiny_recipe, tiny_trainer

SMALL_FILES = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.support.tiny_recipe import tiny_recipe, tiny_trainer
trainer = tiny_trainer(tiny_recipe(Path({models!r}), Path({folder!r}) / "prompts"), Path({folder!r}))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    trainer.save(2)
except Exception as error:
    print(type(error).__name__, error)
"""


def test_only_the_newest_are_kept(tiny_folder: Path, tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_recipe(tiny_folder, tmp_path / "prompts", run={"keep": 2}), tmp_path)
    for step in (1, 9, 10):
        trainer.save(step)
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == [
        "step-0000009",
        "step-0000010",
    ]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("failed writing file")]
)
def test_a_full_disk_leaves_the_last_good_checkpoint_and_says_so(
    error: Exception, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch.save tells a full disk now by one error, now by the other."""
    trainer = tiny_trainer(tiny_recipe(tiny_folder, tmp_path / "prompts"), tmp_path)
    trainer.step(0)
    good = trainer.save(1)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("longlive.training.checkpoint.torch.save", fail)
    with pytest.raises(
        CheckpointError, match=r"step-0000002 could not be written.*The last good one is"
    ) as caught:
        trainer.save(2)
    assert str(good) in str(caught.value)
    assert list((tmp_path / "checkpoints").iterdir()) == [good]
    monkeypatch.undo()
    assert tiny_trainer(trainer.recipe, tmp_path).first == 1


def test_a_disk_that_is_really_full_is_told_in_the_same_words(tiny_folder: Path, tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_recipe(tiny_folder, tmp_path / "prompts"), tmp_path)
    good = trainer.save(1)
    script = SMALL_FILES.format(root=str(ROOT), models=str(tiny_folder), folder=str(tmp_path))
    with ForkedProgram(["-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as program:
        assert program.stdout is not None
        output = program.stdout.read()
    told = "CheckpointError the checkpoint step-0000002 could not be written"
    assert any(line.startswith(told) for line in output.splitlines()), output
    assert list((tmp_path / "checkpoints").iterdir()) == [good]


def test_what_a_kill_left_half_written_is_passed_over(tiny_folder: Path, tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_recipe(tiny_folder, tmp_path / "prompts"), tmp_path)
    trainer.save(1)
    half = tmp_path / "checkpoints" / f"step-0000002{PARTIAL}"
    half.mkdir()
    (half / "learners.pt").write_bytes(b"half")
    resumed = tiny_trainer(trainer.recipe, tmp_path)
    assert resumed.first == 1
    resumed.save(2)
    assert not half.exists()


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        (
            {"generator": {"lora_rank": 2}},
            r"lora_A.default.weight of the generator is \[4, \d+\], but this run has \[2",
        ),
        ({"generator": {"lora_rank": 0}}, r"of the generator is None, but this run has"),
        ({"run": {"global_batch": 4}}, "global_batch is 2, but this run has 4"),
        ({"run": {"seed": 5}}, "seed is 0, but this run has 5"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_by_name(
    sections: dict[str, dict[str, int]], words: str, tiny_folder: Path, tmp_path: Path
) -> None:
    base: dict[str, dict[str, int]] = {"generator": {"lora_rank": 4}}
    trainer = tiny_trainer(tiny_recipe(tiny_folder, tmp_path / "prompts", **base), tmp_path)
    path = trainer.save(1)
    with pytest.raises(CheckpointError, match=words) as caught:
        tiny_trainer(tiny_recipe(tiny_folder, tmp_path / "prompts", **(base | sections)), tmp_path)
    assert str(path) in str(caught.value)


def test_a_checkpoint_of_another_stage_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(tiny_folder, tmp_path / "prompts")
    tiny_trainer(recipe, tmp_path, "streaming").save(1)
    with pytest.raises(CheckpointError, match="stage is 'streaming', but this run has 'dmd'"):
        tiny_trainer(recipe, tmp_path, "dmd")


@pytest.mark.parametrize("name", ["facts.json", "learners.pt", "stream-0001.pt"])
def test_a_broken_file_is_told_with_its_checkpoint(name: str, tiny_folder: Path, tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_recipe(tiny_folder, tmp_path / "prompts"), tmp_path)
    path = trainer.save(1)
    (path / name).write_bytes(b"{")
    with pytest.raises(CheckpointError, match="is broken") as caught:
        tiny_trainer(trainer.recipe, tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.slow
def test_a_process_killed_at_any_moment_leaves_a_run_that_goes_on_to_the_same_end(
    tiny_folder: Path, tmp_path: Path
) -> None:
    """SIGKILL when two checkpoints are there; the finished log holds the numbers of a run left alone."""
    tables: dict[str, dict[str, object]] = {"run": {"steps": 6, "save_every": 1}}
    whole = tiny_trainer(tiny_recipe(tiny_folder, tmp_path / "prompts", **tables), tmp_path / "whole")
    whole.run()
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, {root!r})\n"
        "from tests.support.tiny_recipe import tiny_recipe, tiny_trainer\n"
        "recipe = tiny_recipe(Path({models!r}), Path({prompts!r}), **{tables!r})\n"
        "tiny_trainer(recipe, Path({folder!r})).run()\n"
    ).format(
        root=str(ROOT),
        models=str(tiny_folder),
        prompts=str(tmp_path / "prompts"),
        folder=str(tmp_path / "killed"),
        tables=tables,
    )
    child = ForkedProgram(["-c", script], stderr=subprocess.DEVNULL)
    while child.poll() is None and not (tmp_path / "killed/checkpoints/step-0000002").exists():
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    resumed = tiny_trainer(whole.recipe, tmp_path / "killed")
    assert resumed.first >= 2
    resumed.run()
    ends = [
        torch.load(tmp_path / run / "checkpoints/step-0000006/learners.pt", weights_only=True)["generator"]
        for run in ("whole", "killed")
    ]
    assert all(
        torch.equal(value, ends[1]["parameters"][name]) for name, value in ends[0]["parameters"].items()
    )
    losses = [
        {line["step"]: line["critic_loss"] for line in map(json.loads, (tmp_path / run / "log.jsonl").open())}
        for run in ("whole", "killed")
    ]
    assert losses[0] == losses[1]
