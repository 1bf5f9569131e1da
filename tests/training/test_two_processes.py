"""Real processes, as ``accelerate launch`` starts them: what one process gives on the same global batch."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from longlive.cli import main
from tests.support.paths import ROOT
from tests.support.tiny_recipe import tiny_tables, toml_of

LAUNCH = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
LAUNCH += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
TOLERANCE = 1e-5
"""Relative: the same numbers are added in another order."""


def arguments(recipe: Path, folder: Path) -> list[str]:
    """Of the command line."""
    return ["train", "streaming", "--config", str(recipe), "--folder", str(folder)]


def launch(recipe: Path, folder: Path, *more: str) -> list[dict[str, Any]]:
    """Train with two processes; the lines of the log."""
    command = [sys.executable, *LAUNCH, "-m", "longlive", *arguments(recipe, folder), *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    return read_log(folder)


def train(recipe: Path, folder: Path) -> list[dict[str, Any]]:
    """Train with this process alone; the lines of the log."""
    assert main(arguments(recipe, folder)) == 0
    return read_log(folder)


def read_log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained_alone(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run by this process."""
    folder = tmp_path_factory.mktemp("alone")
    recipe = folder / "recipe.toml"
    recipe.write_text(toml_of(tiny_tables(tiny_folder, folder)))
    train(recipe, folder / "run")
    return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize("is_sharded", [False, True], ids=["replicated", "sharded"])
def test_two_processes_give_the_losses_and_weights_of_one(
    tiny_folder: Path, tmp_path: Path, trained_alone: Path, is_sharded: bool
) -> None:
    recipe, alone = tmp_path / "recipe.toml", read_log(trained_alone)
    recipe.write_text(toml_of(tiny_tables(tiny_folder, tmp_path, run={"shard": is_sharded})))
    together = launch(recipe, tmp_path / "two", *([] if is_sharded else ["--steps", "3"]))
    if not is_sharded:  # the last step is made by one process, from what the two have left
        together = train(recipe, tmp_path / "two")
    assert len(alone) == len(together) == 4
    for one, two in zip(alone, together, strict=True):
        names = [name for name in one if name.endswith(("_loss", "_norm", "_lr"))]
        assert [two[name] for name in names] == pytest.approx([one[name] for name in names], rel=TOLERANCE)
    one, two = (
        load_file(run / "model/transformer/diffusion_pytorch_model.safetensors")
        for run in (trained_alone, tmp_path / "two")
    )
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-4, atol=1e-5, msg=name)
