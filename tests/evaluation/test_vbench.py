"""VBench as a subprocess: its published aggregation, and what it cannot do said in words, the rest kept."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from longlive.chunks import FrameChunk
from longlive.cli import main
from longlive.errors import ConfigError, MediaError
from longlive.evaluation.vbench import runs
from longlive.evaluation.vbench.runs import VBenchOptions, make_environment, run_vbench
from longlive.evaluation.vbench.scores import QUALITY, SEMANTIC, aggregate, normalise
from longlive.media.mp4 import write_video

FAKE = """
import json, os


class VBench:
    def __init__(self, device, full_info_dir, output_path):
        assert str(device) == "cpu" and full_info_dir.endswith("VBench_full_info.json")
        self.output_path = output_path

    def evaluate(self, videos_path, name, prompt_list, dimension_list, local, read_frame, mode, **options):
        (dimension,) = dimension_list
        if dimension == "aesthetic_quality":
            raise OSError("no route to host")
        videos = [{"video_path": path} for path in sorted(os.listdir(videos_path))]
        score = {"imaging_quality": 62.5, "dynamic_degree": True}.get(dimension, 0.9)
        with open(os.path.join(self.output_path, name + "_eval_results.json"), "w") as file:
            json.dump({dimension: [score, videos], "mode": [mode, options]}, file)


VBenchLong = VBench
"""


@pytest.fixture
def python(tmp_path: Path) -> str:
    """A Python that has fakes of vbench and torch."""
    packages = tmp_path / "packages"
    for name, source in (
        ("vbench", FAKE),
        ("vbench2_beta_long", FAKE),
        ("torch", "class cuda:\n    is_available = staticmethod(lambda: False)\n\n\ndevice = str\n"),
    ):
        (packages / name).mkdir(parents=True)
        (packages / name / "__init__.py").write_text(source)
    for name, version in (("vbench", "0.1.5"), ("torch", "2.13")):
        facts = packages / f"{name}-{version}.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={packages} exec {sys.executable} "$@"\n')
    program.chmod(0o755)
    return str(program)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two videos of different sizes and lengths, and a broken one."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number, (size, frames) in enumerate(((32, 16), (48, 80))):
        pictures = np.full((frames, size, size, 3), 90, np.uint8)
        write_video(folder / f"{number}.mp4", [FrameChunk(0, 0, "", 0, pictures, 16)])
    (folder / "broken.mp4").write_bytes((folder / "1.mp4").read_bytes()[:200])
    return folder


def test_the_aggregate_is_the_published_one() -> None:
    best = dict.fromkeys((*QUALITY, *SEMANTIC), 1.0)
    best |= {"motion_smoothness": 0.9975, "temporal_style": 0.364, "overall_consistency": 0.364}
    best |= {"scene": 0.8222, "appearance_style": 0.2855}
    whole = aggregate(best)
    assert (whole["quality"], whole["semantic"], whole["total"], whole["missing"]) == (1, 1, 1, [])
    slow = aggregate(best | {"dynamic_degree": 0.0})
    assert slow["quality"] == round(6 / 6.5, 4) and slow["total"] == round((4 * 6 / 6.5 + 1) / 5, 4)
    assert aggregate(best | {"imaging_quality": 62.5})["scores"]["imaging_quality"] == 0.625
    assert normalise("subject_consistency", 0.1462) == 0 and normalise("scene", 0.8222) == 1


def test_a_partial_set_is_called_partial_and_has_no_total() -> None:
    found = aggregate({"subject_consistency": 0.9, "dynamic_degree": 0.4})
    assert found["total"] is None and found["semantic"] is None and found["quality_is_partial"]
    expected = (normalise("subject_consistency", 0.9) + 0.4 * 0.5) / 1.5
    assert found["quality"] == pytest.approx(expected, abs=1e-4) and len(found["missing"]) == 14


def test_what_fails_is_named_and_the_rest_is_kept(python: str, videos: Path) -> None:
    result = run_vbench([videos], VBenchOptions(python))
    assert result["videos"] == 2 and result["mode"] == "custom input"
    assert [Path(one["file"]).name for one in result["broken"]] == ["broken.mp4"]
    assert list(result["failed"]) == ["aesthetic_quality"]
    reason = result["failed"]["aesthetic_quality"]
    assert "no route to host" in reason and "ViT-L-14.pt" in reason
    assert result["scores"]["imaging_quality"] == 0.625 and result["scores"]["subject_consistency"] == 0.9
    assert result["quality_is_partial"] and result["total"] is None
    assert any("1 to 5 s long" in trap for trap in result["traps"])
    assert result["environment"] == {"vbench": "0.1.5", "torch": "2.13", "detectron2": None}


def test_without_detectron2_four_dimensions_are_left_out(python: str, videos: Path) -> None:
    options = VBenchOptions(python, ("color", "human_action"), standard=True, long=True)
    result = run_vbench([videos], options)
    assert list(result["failed"]) == ["color"] and "detectron2" in result["failed"]["color"]
    assert result["scores"] == {"human_action": 0.9} and result["mode"] == "long standard"
    assert any("issue 186" in trap for trap in result["traps"])
    assert any("extended" in trap for trap in result["traps"])


def test_the_command_prints_scores_and_what_is_missing(
    python: str, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        str(videos),
        "--vbench-python",
        python,
        "--dimensions",
        "subject_consistency",
        "aesthetic_quality",
    ]
    assert main(["evaluate", "vbench", *words]) == 1
    text = capsys.readouterr().out
    assert "0.9000" in text and "quality" in text and "(partial)" in text and "total " not in text
    assert "not scored: aesthetic_quality" in text and "left out: " in text and "note: custom input" in text
    assert main(["evaluate", "vbench", *words, "--json"]) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["result"]["videos"] == 2


def test_an_environment_without_vbench_is_said(videos: Path) -> None:
    with pytest.raises(MediaError, match=r"has no vbench.*--make-environment"):
        run_vbench([videos], VBenchOptions(sys.executable))


def test_only_broken_videos_are_said(python: str, tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    with pytest.raises(MediaError, match="None of 1 files can be read"):
        run_vbench([tmp_path / "x.mp4"], VBenchOptions(python))


def test_dimensions_are_checked() -> None:
    with pytest.raises(ConfigError, match="the dimensions are subject_consistency"):
        VBenchOptions("python", ("beauty",))


def test_an_environment_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(words: list[str], **_: object) -> object:
        failed = "pip" in words
        return subprocess.CompletedProcess(words, int(failed), "", "no matching distribution" * failed)

    monkeypatch.setattr(runs.subprocess, "run", run)
    with pytest.raises(
        MediaError, match=r"pip install vbench==0.1.5 failed: no matching distribution.*network"
    ):
        make_environment(tmp_path / "made")
