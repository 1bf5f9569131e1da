"""Several processes train one run, and another number of them resumes it."""

from pathlib import Path

import pytest
import torch

from longlive.storybook.codec import train_codec
from longlive.storybook.workers import run_in_processes
from longlive.training.checkpoint import read_averages


@pytest.mark.slow
def test_two_processes_write_one_run_and_resume_as_one(tmp_path: Path) -> None:
    options = {"folder": tmp_path, "batch": 1}
    run_in_processes(train_codec, 2, options | {"steps": 1})
    run_in_processes(train_codec, 1, options | {"steps": 2})
    checkpoints = tmp_path / "codec/checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["step-0000001", "step-0000002"]
    one, two = (read_averages(checkpoints / f"step-000000{step}", "codec") for step in (1, 2))
    assert any(not torch.equal(value, two[name]) for name, value in one.items())
