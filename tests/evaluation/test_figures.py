"""Figures are drawn from results, and what stands in their way is said before the work begins."""

import errno
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from longlive.errors import MediaError
from longlive.evaluation.figures import (
    check_target,
    draw_drift,
    draw_ranks,
    draw_strategies,
    draw_windows,
)
from longlive.evaluation.trials import Trial
from longlive.storybook.world.drawing import Scene

FIGURE = {"value": 90.0, "ci_low": 80.0, "ci_high": 95.0, "n": 4}


def windows_result() -> dict[str, Any]:
    rows = [
        {"window": w, "sink": s, "subject_consistency": FIGURE, "cpu_ms": 10.0 + w, "cache_bytes": w * 10**6}
        for w, s in ((3, 0), (6, 0), (6, 3))
    ]
    return {"seconds": 20.0, "windows": rows, "ceiling": {"subject_consistency": FIGURE}}


def drift_result() -> dict[str, Any]:
    scores = {"all_attributes": FIGURE, "subject_consistency": FIGURE}
    windows = [{"from": 10 * i} | scores for i in range(3)]
    return {"runs": [{"model": "m", "sink": sink, "windows": windows} for sink in (3, 0)]}


def ranks_result() -> dict[str, Any]:
    scores = {"shape": FIGURE, "action": FIGURE}
    return {"runs": [{"rank": rank, "before": scores, "after": scores} for rank in ("4", "full")]}


@pytest.mark.parametrize(
    ("draw", "result"),
    [(draw_windows, windows_result()), (draw_drift, drift_result()), (draw_ranks, ranks_result())],
    ids=["windows", "drift", "ranks"],
)
def test_a_figure_is_a_picture_with_every_colour_of_its_lines(draw: Any, result: Any, tmp_path: Path) -> None:
    target = tmp_path / "figure.png"
    draw(result, target)
    picture = Image.open(target).convert("RGB")
    colours = {colour for _, colour in picture.getcolors(2**24) or []}
    assert picture.width > 900 and {(0xC2, 0x41, 0x0C), (0x1D, 0x4E, 0xD8)} <= colours


def test_strips_show_every_picture_of_every_strategy(tmp_path: Path) -> None:
    scene = Scene("ball", "red", "jump", "meadow", "clear")
    trial = Trial(scene, scene, "a red ball", "it jumps")
    hues = torch.arange(6, dtype=torch.uint8).mul(40).view(2, 3, 1, 1, 1).expand(2, 3, 3, 8, 12)
    draw_strategies(trial, {"cut": hues[0], "recache": hues[1]}, (-1.0, 0.5, 2.0), tmp_path / "f.png")
    colours = Image.open(tmp_path / "f.png").convert("RGB").getcolors(2**24) or []
    assert {(40 * i,) * 3 for i in range(6)} <= {colour for _, colour in colours}


@pytest.mark.parametrize("name", ["f.jpg", "f"])
def test_a_target_that_cannot_be_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"must end in \.png"):
        check_target(tmp_path / name)


def test_a_figure_goes_through_a_link_and_may_end_in_capitals(tmp_path: Path) -> None:
    link, target = tmp_path / "f.PNG", tmp_path / "elsewhere" / "figure"
    target.parent.mkdir()
    link.symlink_to(target)
    check_target(link)
    draw_drift(drift_result(), link)
    assert link.is_symlink() and Image.open(target).format == "PNG"


def test_what_was_there_is_kept_when_a_figure_cannot_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Figure, path: Path, **how: object) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    (tmp_path / "f.png").write_bytes(b"before")
    with pytest.raises(MediaError, match=r"cannot be written \(No space left on device\)"):
        draw_drift(drift_result(), tmp_path / "f.png")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("f.png", b"before")]


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="cannot be written"):
        draw_drift(drift_result(), tmp_path / "gone" / "f.png")
