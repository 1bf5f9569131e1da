"""The parts of .ci/gpu on a CPU, with a tiny model: their paths, their files, and what a failure leaves."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support import gpu_parts


@pytest.fixture
def parts(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs parts; the compiler, which takes minutes, returns what it is given."""
    monkeypatch.setattr(gpu_parts, "MODEL", str(tiny_folder))
    monkeypatch.setattr(gpu_parts, "OPTIONS", ["--random-weights", "--dtype", "float32"])
    monkeypatch.setattr(gpu_parts, "SECONDS", "1")
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    return lambda *names: gpu_parts.run(tmp_path, names)


def written(folder: Path, part: str) -> Any:
    return json.loads((folder / f"gpu_{part}.json").read_text())


@pytest.mark.slow
def test_benches_measure_the_quick_ways_and_write_their_result(
    parts: Callable[..., int], tmp_path: Path
) -> None:
    assert parts("bf16", "int8") == 0
    for part, mode, quantization in (("bf16", "graphs", "off"), ("int8", "default", "int8")):
        found = written(tmp_path, part)
        assert (found["compile"], found["quantization"], found["overlap"]) == (mode, quantization, True)
        assert found["fps_end_to_end"] > 0 and found["switches"] is not None and found["random_weights"]


@pytest.mark.slow
def test_the_quick_ways_are_compared_with_the_plain_one(parts: Callable[..., int], tmp_path: Path) -> None:
    assert parts("equal", "attention") == 0
    found = written(tmp_path, "equal")
    assert found["pass_graphs_to_plain"] < 1e-5
    assert len(found["chunks_graphs_to_plain"]) == 7 and max(found["chunks_graphs_to_plain"]) < 1e-5
    assert written(tmp_path, "attention")["sdpa"]["to_float32"] < 1e-5


@pytest.mark.slow
def test_a_part_that_fails_says_so_and_the_next_goes_on(
    parts: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def part(folder: Path, name: str) -> None:
        ran.append(name)
        if name == "bf16":
            raise RuntimeError("no kernel")
        if name == "hour":
            time.sleep(30)

    monkeypatch.setattr(gpu_parts, "part", part)
    monkeypatch.setenv("PART_S", "0.3")
    assert parts("smoke", "bf16", "hour", "wan") == 2
    lines = (tmp_path / "gpu_parts.txt").read_text().splitlines()
    assert [line.split(" after ")[0] for line in lines] == [
        "smoke done",
        "bf16 FAILED RuntimeError: no kernel",
        "hour FAILED GivenUp: given up",
        "wan done",
    ]
    assert parts("smoke", "bf16", "hour", "wan", "eight") == 0, "what was tried is not tried again"
    assert ran == ["smoke", "bf16", "hour", "wan", "eight"]


def test_after_a_crash_the_next_part_is_begun(
    parts: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(gpu_parts, "part", lambda folder, name: ran.append(name))
    (tmp_path / "gpu_parts.txt").write_text("smoke done after 1.0 s\nbf16 ")
    assert parts("smoke", "bf16", "wan") == 0
    assert ran == ["wan"]
    assert "bf16 CRASHED" in (tmp_path / "gpu_parts.txt").read_text()
