"""Runs VBench on a folder, a dimension at a time, and says in words what it could not do and why."""

import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longlive.errors import ConfigError, LongLiveError, MediaError
from longlive.evaluation.vbench.environment import (
    LONG_REQUIREMENTS,
    PROGRAM,
    REPOSITORY,
    Environment,
    check_environment,
    last_line,
)
from longlive.evaluation.vbench.scores import QUALITY, SEMANTIC, aggregate
from longlive.evaluation.vbench.weights import FILES, files_of
from longlive.evaluation.videos.reading import SESSION, find_files
from longlive.media.picture_reader import sample_video

MAX_DIMENSION_S = 12 * 3600
NEEDS_DETECTRON = ("object_class", "multiple_objects", "color", "spatial_relationship")
SHORT_S = 10.0
"""Longer videos are for VBench-Long."""


@dataclass(frozen=True)
class VBenchOptions:
    """How VBench is run.

    Attributes:
        python: of an environment that has it.
        dimensions: to score.
        long: VBench-Long, for videos of more than a few seconds.
        standard: whether the files are videos of VBench's own prompts, named as it asks; else only the
            dimensions of quality can be scored.
        repo: a checkout of VBench, whose code is used instead of the package's.
    """

    python: str
    dimensions: Sequence[str] = QUALITY
    long: bool = False
    standard: bool = False
    repo: Path | None = None

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


def ready_environment(options: VBenchOptions) -> Environment:
    """The environment of these options.

    Raises:
        MediaError: if it has no vbench, or cannot run VBench-Long where that is asked for.
    """
    found = check_environment(options.python, options.repo)
    if options.long and found.long_needs:
        packages = " ".join(f"'{name}'" for name in LONG_REQUIREMENTS)
        raise MediaError(
            f"VBench-Long cannot run with {options.python}: it needs {', '.join(found.long_needs)}. Install "
            f"{packages} there, and give a checkout of {REPOSITORY} as --vbench-repo."
        )
    return found


def run_vbench(
    paths: Sequence[Path], options: VBenchOptions, progress: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Score videos; what fails is named, and the other results are kept.

    Args:
        paths: files or folders.
        options: how.
        progress: is given a line for each dimension.

    Raises:
        MediaError: if there is no video that can be read, or as for ``ready_environment``.
    """
    environment = ready_environment(options)
    good, lengths, broken = _readable(find_files(paths), options)
    if not good:
        reason = broken[0]["reason"] if broken else "there is none"
        raise MediaError(f"None of {len(broken)} files can be scored: {reason}. Give other videos.")
    scores: dict[str, float] = {}
    failed: dict[str, str] = {}
    for name in options.dimensions:
        progress(f"{name} ({len(good)} videos)")
        try:
            scores[name] = _score(name, good, options, environment)
        except MediaError as error:
            failed[name] = str(error)
    return aggregate(scores) | {
        "videos": len(good),
        "broken": broken,
        "failed": failed,
        "environment": dict(environment.versions),
        "mode": ("long " if options.long else "") + ("standard" if options.standard else "custom input"),
        "traps": _traps(options, lengths, environment),
    }


def _readable(
    paths: Sequence[Path], options: VBenchOptions
) -> tuple[list[Path], list[float], list[dict[str, str]]]:
    """The files that can be scored, their lengths in seconds, and the others with the reason."""
    good: list[Path] = []
    lengths, broken = [], []
    for path in paths:
        try:
            if path.suffix.lower() == SESSION:
                raise MediaError(
                    "a session file is no video. Write it as one with: python -m longlive replay"
                )
            if options.standard and path.stem in {other.stem for other in good}:
                raise MediaError("another file has the same name, which is its prompt and number")
            last = max(seconds for seconds, _ in sample_video(path, fps=1000, longest_side=32))
        except (LongLiveError, ValueError) as error:
            broken.append({"file": str(path), "reason": " ".join(str(error).split())})
            continue
        good.append(path)
        lengths.append(last)
    return good, lengths, broken


def _link(paths: Sequence[Path], folder: Path, *, standard: bool) -> None:
    """Links under names that VBench reads right: it knows no ending but .mp4, and cuts names at ``_``."""
    folder.mkdir()
    for number, path in enumerate(paths):
        name = path.stem if standard else f"video{number:05}"
        (folder / f"{name}.mp4").symlink_to(path.resolve())


def _score(name: str, paths: Sequence[Path], options: VBenchOptions, environment: Environment) -> float:
    """The score of a dimension; MediaError says what kept it from one."""
    if name in NEEDS_DETECTRON and not environment.versions.get("detectron2"):
        raise MediaError(
            "needs detectron2, which vbench does not install: github.com/facebookresearch/detectron2"
        )
    try:
        with tempfile.TemporaryDirectory(prefix="longlive-") as folder:
            videos, output = Path(folder, "videos"), Path(folder, "output")
            _link(paths, videos, standard=options.standard)
            output.mkdir()
            found = _run(name, videos, output, options, environment)
        if not found["videos"]:
            raise MediaError(
                "VBench found no video of its prompts: it wants files named PROMPT-0.mp4 and so on"
            )
        return float(found["score"])
    except subprocess.TimeoutExpired as error:
        raise MediaError(f"took more than {MAX_DIMENSION_S // 3600} hours") from error
    except OSError as error:
        raise MediaError(f"VBench cannot be run here: {error}. Free some space, or set TMPDIR") from error
    except (ValueError, KeyError, IndexError, TypeError) as error:
        files = files_of(name, long=options.long)
        advice = (
            f". It downloads {files} when it is first run: put that there, or see that the network reaches it"
        )
        raise MediaError(f"{str(error).rstrip('.')}{advice if files else ''}") from error


def _run(
    name: str, videos: Path, output: Path, options: VBenchOptions, environment: Environment
) -> dict[str, Any]:
    words = [environment.python, str(PROGRAM), "--videos", str(videos), "--output", str(output)]
    words += ["--dimension", name, *["--long"] * options.long, *["--standard"] * options.standard]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=MAX_DIMENSION_S,
        cwd=output,
        env=environment.variables,
    )
    if done.returncode:
        raise ValueError(last_line(done.stderr))
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _traps(options: VBenchOptions, lengths: Sequence[float], environment: Environment) -> list[str]:
    """What makes such numbers differ from published ones, as far as it applies here."""
    found = []
    if max(lengths) - min(lengths) > 1:
        found.append(
            f"the videos are {min(lengths):.0f} to {max(lengths):.0f} s long: scores depend on the length"
        )
    if not options.long and max(lengths) > SHORT_S:
        found.append(f"videos of {max(lengths):.0f} s without --long: VBench's own are of a few seconds")
    if options.long:
        found.append("VBench-Long ignores its clip lengths for imaging and aesthetic quality (its issue 186)")
    if "temporal_flickering" in options.dimensions and not (options.long and options.standard):
        found.append("temporal_flickering: VBench's authors leave moving videos out first (static_filter)")
    if options.standard:
        found.append(
            "plain prompts cost about 10 semantic points against the extended ones: say which were used"
        )
    else:
        found.append("custom input: the dimensions of quality alone, so no total; totals need --standard")
    if not environment.versions.get("detectron2") and options.standard:
        found.append(f"without detectron2 there is no {', '.join(NEEDS_DETECTRON)}")
    found.append("totals of one model differ by 1.5 points between papers")
    return found
