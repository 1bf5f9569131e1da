"""The log holds means since the last line, and only the main process writes."""

import json
from pathlib import Path

import psutil
import pytest
import torch

from longlive.training.logs import TrainingLog, memory_bytes
from longlive.training.processes import Processes


def test_a_line_holds_the_means_since_the_last_one(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path, "dmd", 0, 4, Processes())
    assert list(log.steps()) == [0, 1, 2, 3]
    log.add({"critic_loss": 1.0, "generator_loss": 5.0}, 2)
    log.add({"critic_loss": 3.0}, 2)
    log.write(2)
    log.add({"critic_loss": 7.0}, 2)
    log.write(3)
    log.write(4)
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 3], "a line without new steps is left out"
    assert (lines[0]["critic_loss"], lines[0]["generator_loss"]) == (2.0, 5.0)
    assert lines[1]["critic_loss"] == 7.0 and "generator_loss" not in lines[1]
    assert all(line["samples_per_second"] > 0 for line in lines)


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "run", "dmd", 0, 1, Processes(1, 2))
    log.add({"loss": 1.0}, 1)
    log.write(1)
    log.video(1, "sample", [])
    log.close()
    assert not (tmp_path / "run").exists()


def test_the_memory_on_a_cpu_is_that_of_the_process() -> None:
    held = torch.ones(32 * 2**20, dtype=torch.uint8)
    resident = psutil.Process().memory_info().rss
    assert memory_bytes(torch.device("cpu")) == pytest.approx(resident, rel=0.05) and held.all()
