"""VBench as a subprocess: its published aggregation, and what it cannot do said in words, the rest kept."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from longlive.chunks import FrameChunk
from longlive.cli import main
from longlive.errors import ConfigError, MediaError
from longlive.evaluation.vbench import environment
from longlive.evaluation.vbench.environment import make_environment
from longlive.evaluation.vbench.runs import VBenchOptions, run_vbench
from longlive.evaluation.vbench.scores import QUALITY, SEMANTIC, aggregate, normalise
from longlive.evaluation.vbench.weights import FILES, files_of
from longlive.media.mp4 import write_video

FAKE = """
import json, os


class VBench:
    def __init__(self, device, full_info_dir, output_path):
        assert str(device) == "cpu" and full_info_dir.endswith("VBench_full_info.json")
        self.output_path = output_path

    def evaluate(self, videos_path, name, prompt_list, dimension_list, local, read_frame, mode, **options):
        (dimension,) = dimension_list
        names = os.listdir(videos_path)
        assert all(name.endswith(".mp4") for name in names)
        if mode.endswith("custom_input"):  # VBench-Long takes what comes before a "_" for the video's name
            assert not any("_" in name for name in names)
        if mode.startswith("long"):
            assert all(os.path.isfile(options[key]) for key in options if key.endswith("_file_path"))
        if dimension == "aesthetic_quality":
            raise OSError("no route to host")
        videos = [{"video_path": path} for path in names if dimension != "scene"]
        score = {"imaging_quality": 62.5, "dynamic_degree": True}.get(dimension, 0.9)
        with open(os.path.join(self.output_path, name + "_eval_results.json"), "w") as file:
            json.dump({dimension: [score, videos], "mode": [mode, options]}, file)


VBenchLong = VBench
"""


CUDA = "class cuda:\n    is_available = staticmethod(lambda: False)\n\n\ndevice = str\n"
LONG_PACKAGES = {
    "scenedetect": "",
    "dreamsim": "",
    "moviepy/editor": "",
    "torchvision/io": "write_video = print",
}


def write_packages(folder: Path, sources: dict[str, str]) -> None:
    for name, source in sources.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(source)


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Fakes of vbench and torch: VBench-Long has no configs there, as in the published package."""
    folder = tmp_path / "packages"
    write_packages(folder, {"vbench": FAKE, "vbench2_beta_long": FAKE, "torch": CUDA})
    (folder / "vbench" / "VBench_full_info.json").write_text("[]")
    for name, version in (("vbench", "0.1.5"), ("torch", "2.13")):
        facts = folder / f"{name}-{version}.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return folder


@pytest.fixture
def python(tmp_path: Path, packages: Path) -> str:
    """A Python that has these packages."""
    program = tmp_path / "python"
    paths = f"${{PYTHONPATH:+$PYTHONPATH:}}{packages}"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={paths} exec {sys.executable} "$@"\n')
    program.chmod(0o755)
    return str(program)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A checkout of VBench."""
    folder = tmp_path / "checkout"
    write_packages(folder, {"vbench2_beta_long": FAKE})
    configs = folder / "vbench2_beta_long" / "configs"
    configs.mkdir()
    for name in ("slow_fast_params", "subject_mapping_table", "background_mapping_table"):
        (configs / f"{name}.yaml").write_text("")
    return folder


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
    versions = {"vbench": "0.1.5", "torch": "2.13", "torchvision": None, "detectron2": None}
    assert result["environment"] == versions


def test_without_detectron2_four_dimensions_are_left_out(
    python: str, packages: Path, repo: Path, videos: Path
) -> None:
    write_packages(packages, LONG_PACKAGES)
    options = VBenchOptions(python, ("color", "human_action", "scene"), standard=True, long=True, repo=repo)
    result = run_vbench([videos], options)
    assert list(result["failed"]) == ["color", "scene"] and "detectron2" in result["failed"]["color"]
    assert "PROMPT-0.mp4" in result["failed"]["scene"]
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


def test_what_vbench_long_needs_is_said_before_anything_is_scored(
    python: str, packages: Path, repo: Path, videos: Path
) -> None:
    with pytest.raises(MediaError, match=r"configs.*scenedetect.*moviepy.*dreamsim.*torchvision.*repo"):
        run_vbench([videos], VBenchOptions(python, long=True))
    write_packages(packages, LONG_PACKAGES)
    with pytest.raises(MediaError, match=r"it needs its folder configs, which only a checkout has"):
        run_vbench([videos], VBenchOptions(python, long=True))
    with pytest.raises(MediaError, match=r"no checkout of github\.com/Vchitect/VBench"):
        run_vbench([videos], VBenchOptions(python, long=True, repo=videos))
    result = run_vbench([videos], VBenchOptions(python, ("subject_consistency",), long=True, repo=repo))
    assert result["scores"] == {"subject_consistency": 0.9} and result["videos"] == 2


def test_files_of_one_name_are_scored_unless_the_name_is_their_prompt(python: str, videos: Path) -> None:
    other = videos.parent / "other"
    other.mkdir()
    (other / "1.mp4").write_bytes((videos / "1.mp4").read_bytes())
    (videos / "2_of_2.webm").write_bytes((videos / "1.mp4").read_bytes())
    (other / "run.json").write_text("{}")
    paths = [videos, other, other / "run.json"]
    result = run_vbench(paths, VBenchOptions(python, ("imaging_quality",)))
    assert result["videos"] == 4 and result["scores"] == {"imaging_quality": 0.625}
    assert [Path(one["file"]).name for one in result["broken"]] == ["broken.mp4", "run.json"]
    standard = run_vbench(paths, VBenchOptions(python, ("imaging_quality",), standard=True))
    assert standard["videos"] == 3
    assert any("same name" in one["reason"] for one in standard["broken"])


def test_every_dimension_says_what_it_downloads_and_where_to() -> None:
    assert list(FILES) and {*FILES} == {*QUALITY, *SEMANTIC}
    assert "amt-s.pth into ~/.cache/vbench/amt_model" in files_of("motion_smoothness", long=False)
    assert files_of("temporal_flickering", long=False) == ""
    assert "dinov2" in files_of("subject_consistency", long=True)


def test_a_full_disk_is_said_for_each_dimension(
    python: str, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "symlink_to", full)
    result = run_vbench([videos], VBenchOptions(python, ("imaging_quality", "dynamic_degree")))
    assert result["scores"] == {} and len(result["failed"]) == 2
    assert all("No space left" in reason for reason in result["failed"].values())


def test_an_environment_without_vbench_is_said(videos: Path) -> None:
    with pytest.raises(MediaError, match=r"has no vbench.*--make-environment"):
        run_vbench([videos], VBenchOptions(sys.executable))


def test_an_empty_folder_and_only_broken_videos_are_said(python: str, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="holds no video"):
        run_vbench([tmp_path], VBenchOptions(python))
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    with pytest.raises(MediaError, match="None of 1 files can be scored"):
        run_vbench([tmp_path / "x.mp4"], VBenchOptions(python))


def test_dimensions_are_checked() -> None:
    with pytest.raises(ConfigError, match="the dimensions are subject_consistency"):
        VBenchOptions("python", ("beauty",))


def test_an_environment_is_made_in_steps_that_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        environment.subprocess, "run", lambda words, **_: subprocess.CompletedProcess(words, 0)
    )
    steps: list[str] = []
    assert make_environment(tmp_path / "made", steps.append) == tmp_path / "made" / "bin" / "python"
    assert [step.split()[-1] for step in steps] == [
        str(tmp_path / "made"),
        "pip",
        "torchvision<0.26",
        "vbench",
    ]


@pytest.mark.parametrize(
    ("failing", "complaint"),
    [
        ("vbench==0.1.5", r"pip install vbench==0.1.5 .* failed: no such thing.*network"),
        ("-c", r"cannot be imported: no such thing.*pip install"),
    ],
)
def test_an_environment_that_cannot_be_made_is_said(
    failing: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(words: list[str], **_: object) -> object:
        failed = failing in words
        return subprocess.CompletedProcess(words, int(failed), "", "no such thing" * failed)

    monkeypatch.setattr(environment.subprocess, "run", run)
    with pytest.raises(MediaError, match=complaint):
        make_environment(tmp_path / "made")
