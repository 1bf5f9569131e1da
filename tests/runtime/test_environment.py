"""What a measurement was made with."""

import re
from pathlib import Path

import pytest
import torch

from longlive import __version__
from longlive.runtime import environment


def test_a_cpu_is_named_by_architecture_and_cores() -> None:
    assert re.fullmatch(r"cpu \(\w+, \d+ cores\)", environment.device_name(torch.device("cpu")))
    assert environment.processor_name()


def test_versions_are_those_of_the_package_python_and_what_computes() -> None:
    found = environment.versions()
    assert found["longlive"] == __version__
    assert set(found) == {"longlive", "python", "torch", "diffusers", "transformers", "av"}
    assert all(found.values())


def test_outside_of_a_repository_there_is_no_revision(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "environment.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert environment.git_revision() is None
