"""Runs VBench on a folder, a dimension at a time, and says in words what it could not do and why."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longlive.errors import ConfigError, LongLiveError, MediaError
from longlive.evaluation.vbench.scores import QUALITY, SEMANTIC, aggregate
from longlive.evaluation.videos.reading import SESSION, find_files
from longlive.media.picture_reader import sample_video

PACKAGE = "vbench==0.1.5"
"""The version whose calls are made here; its wheel holds VBench-Long and the prompts."""
PROGRAM = Path(__file__).with_name("program.py")
MAX_DIMENSION_S = 12 * 3600
NEEDS_DETECTRON = ("object_class", "multiple_objects", "color", "spatial_relationship")
_DINO = "https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth"
_CLIP = "https://openaipublic.azureedge.net/clip/models"
_VIT_B = f"{_CLIP}/40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt"
_VIT_L = f"{_CLIP}/b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836/ViT-L-14.pt"
_IQA = "https://github.com/chaofengc/IQA-PyTorch/releases/download/v0.1-weights/musiq_spaq_ckpt-358bb6af.pth"
_GRIT = "https://datarelease.blob.core.windows.net/grit/models/grit_b_densecap_objectdet.pth"
_VICLIP = (
    "https://pjlab-gvm-data.oss-cn-shanghai.aliyuncs.com/internvideo/viclip/ViClip-InternVid-10M-FLT.pth"
)
_UMT = (
    "https://pjlab-gvm-data.oss-cn-shanghai.aliyuncs.com/umt/single_modality/"
    "l16_ptk710_ftk710_ftk400_f16_res224.pth"
)
FILES = {
    "subject_consistency": _DINO,
    "background_consistency": _VIT_B,
    "temporal_flickering": "none",
    "motion_smoothness": "https://huggingface.co/lalala125/AMT/resolve/main/amt-s.pth",
    "dynamic_degree": "https://dl.dropboxusercontent.com/s/4j4z58wuv8o0mfz/models.zip (raft-things.pth)",
    "aesthetic_quality": f"{_VIT_L} and sa_0_4_vit_l_14_linear.pth of "
    f"github.com/LAION-AI/aesthetic-predictor",
    "imaging_quality": _IQA,
    "object_class": _GRIT,
    "multiple_objects": _GRIT,
    "color": _GRIT,
    "spatial_relationship": _GRIT,
    "human_action": _UMT,
    "scene": "https://huggingface.co/spaces/xinyu1205/recognize-anything/resolve/main/tag2text_swin_14m.pth",
    "appearance_style": _VIT_B,
    "temporal_style": _VICLIP,
    "overall_consistency": _VICLIP,
}
"""What each dimension downloads when it is first run, and from where."""


@dataclass(frozen=True)
class VBenchOptions:
    """How VBench is run.

    Attributes:
        python: of an environment that has it.
        dimensions: to score.
        long: VBench-Long, for videos of more than a few seconds.
        standard: whether the files are videos of VBench's own prompts, named as it asks; else only the
            dimensions of quality can be scored.
    """

    python: str
    dimensions: Sequence[str] = QUALITY
    long: bool = False
    standard: bool = False

    def __post_init__(self) -> None:
        """Check the dimensions; ConfigError names one that there is not, or that needs other videos."""
        for name in self.dimensions:
            if name not in FILES:
                rule = f"the dimensions are {', '.join(FILES)}"
                raise ConfigError("--dimensions", name, rule, "Correct the name.")
            if name in SEMANTIC and not self.standard:
                rule = "it is only defined for videos of VBench's own prompts"
                raise ConfigError(
                    "--dimensions", name, rule, "Leave it out, or give such videos and --standard."
                )


def make_environment(folder: Path) -> None:
    """A virtual environment with VBench; MediaError says what went wrong."""
    python = folder / "bin" / "python"
    for words in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", PACKAGE],
    ):
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            raise MediaError(
                f"{' '.join(words)} failed: {_last_line(done.stderr or done.stdout)}. It needs a "
                f"network (or a mirror "
                "of PyPI) and about 8 GB of disk."
            )


def run_vbench(
    paths: Sequence[Path], options: VBenchOptions, progress: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Score videos; what fails is named, and the other results are kept.

    Args:
        paths: files or folders.
        options: how.
        progress: is given a line for each dimension.

    Raises:
        MediaError: if there is no video that can be read, or the environment has no vbench.
    """
    installed = check_environment(options.python)
    good, lengths, broken = _readable(find_files(paths))
    if not good:
        raise MediaError(
            f"None of {len(broken)} files can be read: {broken[0]['reason']}. Give other videos."
        )
    scores: dict[str, float] = {}
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="longlive-") as folder:
        videos = Path(folder, "videos")
        videos.mkdir()
        for path in good:
            (videos / path.name).symlink_to(path.resolve())
        for name in options.dimensions:
            progress(f"{name} ({len(good)} videos)")
            _run_dimension(name, videos, Path(folder, name), options, installed, scores, failed)
    return aggregate(scores) | {
        "videos": len(good),
        "broken": broken,
        "failed": failed,
        "environment": installed,
        "mode": ("long " if options.long else "") + ("standard" if options.standard else "custom input"),
        "traps": _traps(options, lengths, installed),
    }


def check_environment(python: str) -> dict[str, str | None]:
    """Versions of vbench, torch and detectron2 in an environment; MediaError if vbench is not there."""
    how = "python -m longlive evaluate vbench --make-environment FOLDER makes one."
    try:
        done = subprocess.run([python, str(PROGRAM), "--check"], capture_output=True, text=True)
        found: dict[str, str | None] = json.loads(done.stdout.strip().splitlines()[-1])
    except (OSError, ValueError, IndexError) as error:
        raise MediaError(
            f"--vbench-python is {python}, which is no Python that runs ({error}). {how}"
        ) from error
    if not found.get("vbench"):
        raise MediaError(f"The environment of {python} has no vbench. {how}")
    return found


def _readable(paths: Sequence[Path]) -> tuple[list[Path], list[float], list[dict[str, str]]]:
    """The files that can be read to their end, their lengths in seconds, and the others with the reason."""
    good, lengths, broken = [], [], []
    for path in paths:
        try:
            if path.suffix.lower() == SESSION:
                raise MediaError(
                    "a session file is no video. Write it as one with: python -m longlive replay"
                )
            last = max(seconds for seconds, _ in sample_video(path, fps=1000, longest_side=32))
        except (LongLiveError, ValueError) as error:
            broken.append({"file": str(path), "reason": " ".join(str(error).split())})
            continue
        good.append(path)
        lengths.append(last)
    return good, lengths, broken


def _run_dimension(
    name: str,
    videos: Path,
    output: Path,
    options: VBenchOptions,
    installed: dict[str, str | None],
    scores: dict[str, float],
    failed: dict[str, str],
) -> None:
    if name in NEEDS_DETECTRON and not installed.get("detectron2"):
        failed[name] = (
            "needs detectron2, which vbench does not install: github.com/facebookresearch/detectron2"
        )
        return
    output.mkdir()
    words = [
        options.python,
        str(PROGRAM),
        "--videos",
        str(videos),
        "--output",
        str(output),
        "--dimension",
        name,
    ]
    words += ["--long"] * options.long + ["--standard"] * options.standard
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=MAX_DIMENSION_S, cwd=output)
        if done.returncode:
            raise ValueError(_last_line(done.stderr))
        scores[name] = float(json.loads(done.stdout.strip().splitlines()[-1])["score"])
    except subprocess.TimeoutExpired:
        failed[name] = f"took more than {MAX_DIMENSION_S // 3600} hours"
    except (ValueError, KeyError, IndexError, TypeError) as error:
        failed[name] = (
            f"{error}. It downloads {FILES[name]} when it is first run: see that the network reaches it"
        )


def _traps(options: VBenchOptions, lengths: Sequence[float], installed: dict[str, str | None]) -> list[str]:
    """What makes such numbers differ from published ones, as far as it applies here."""
    found = []
    if max(lengths) - min(lengths) > 1:
        found.append(
            f"the videos are {min(lengths):.0f} to {max(lengths):.0f} s long: scores depend on the length"
        )
    if not options.long and max(lengths) > 10:
        found.append(f"videos of {max(lengths):.0f} s without --long: VBench's own are of a few seconds")
    if options.long:
        found.append("VBench-Long ignores its clip lengths for imaging and aesthetic quality (its issue 186)")
    if options.standard:
        found.append(
            "plain prompts cost about 10 semantic points against the extended ones: say which were used"
        )
    else:
        found.append("custom input: the dimensions of quality alone, so no total; totals need --standard")
    if not installed.get("detectron2") and options.standard:
        found.append(f"without detectron2 there is no {', '.join(NEEDS_DETECTRON)}")
    found.append("totals of one model differ by 1.5 points between papers")
    return found


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]
