"""The Python environment that VBench runs in: making one, and seeing what an existing one has."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from longlive.errors import MediaError

PACKAGE = "vbench==0.1.5"
"""The version whose calls are made here."""
UNDECLARED = ("setuptools<81",)
"""What its code needs and does not require: CLIP imports pkg_resources."""
LONG_REQUIREMENTS = ("scenedetect", "moviepy<2", "dreamsim", "peft<0.8", "torchvision<0.26")
"""What VBench-Long needs besides: newer peft wants a newer transformers than vbench allows, and newer
torchvision has no ``write_video``."""
PROGRAM = Path(__file__).with_name("program.py")
REPOSITORY = "github.com/Vchitect/VBench"
_HOW = "python -m longlive evaluate vbench --make-environment FOLDER makes one."


@dataclass(frozen=True)
class Environment:
    """What an interpreter has.

    Attributes:
        python: the interpreter.
        repo: a checkout of VBench whose code comes before the package's; None: the package's own.
        versions: of vbench, torch, torchvision and detectron2; None where it is missing.
        long_needs: what VBench-Long needs and is not there, in words.
    """

    python: str
    repo: Path | None
    versions: Mapping[str, str | None]
    long_needs: tuple[str, ...]

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of its processes."""
        return variables_of(self.repo)


def variables_of(repo: Path | None) -> dict[str, str]:
    """This process's environment variables, with a checkout of VBench before the installed packages."""
    return dict(os.environ) | ({"PYTHONPATH": str(repo.absolute())} if repo else {})


def make_environment(folder: Path, progress: Callable[[str], None] = lambda line: None) -> Path:
    """Make a virtual environment with VBench, and return its Python.

    Raises:
        MediaError: if pip fails, or VBench cannot be imported afterwards.
    """
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install"]
    for words in (
        [sys.executable, "-m", "venv", str(folder)],
        [*pip, "--upgrade", "pip"],
        [*pip, PACKAGE, *UNDECLARED, *LONG_REQUIREMENTS],
    ):
        progress(" ".join(words))
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            raise MediaError(
                f"{' '.join(words)} failed: {last_line(done.stderr or done.stdout)}. It needs a network (or "
                "a mirror of PyPI) and, with PyTorch for CUDA, about 8 GB of disk. Without a GPU, make the "
                "folder with python -m venv, install torch and torchvision for the CPU, and run this again."
            )
    progress("importing vbench")
    done = subprocess.run(
        [str(python), "-c", "import vbench, clip, vbench.utils"], capture_output=True, text=True
    )
    if done.returncode:
        raise MediaError(
            f"vbench is installed in {folder}, and cannot be imported: {last_line(done.stderr)}. Install "
            f"what it misses with {' '.join(pip)}; torch and torchvision must both be for CUDA, or both not."
        )
    return python


def check_environment(python: str, repo: Path | None = None) -> Environment:
    """See what an environment has.

    Raises:
        MediaError: if it does not run, has no vbench, or ``repo`` is no checkout of VBench.
    """
    if repo and not (repo / "vbench2_beta_long").is_dir():
        raise MediaError(
            f"--vbench-repo is {repo}, which is no checkout of {REPOSITORY}. Give another folder."
        )
    words, done = [python, str(PROGRAM), "--check"], None
    try:
        done = subprocess.run(words, capture_output=True, text=True, env=variables_of(repo))
        found = json.loads(done.stdout.strip().splitlines()[-1])
        versions, long_needs = found["versions"], tuple(found["long_needs"])
    except (OSError, ValueError, IndexError, KeyError, TypeError) as error:
        reason = last_line(done.stderr) if done and done.stderr else error
        raise MediaError(
            f"--vbench-python is {python}, which is no Python that runs ({reason}). {_HOW}"
        ) from error
    if not versions.get("vbench"):
        raise MediaError(f"The environment of {python} has no vbench. {_HOW}")
    return Environment(python, repo, versions, long_needs)


def last_line(text: str) -> str:
    """The last line that a program wrote, for a message."""
    return (text.strip().splitlines() or ["it said nothing"])[-1]
