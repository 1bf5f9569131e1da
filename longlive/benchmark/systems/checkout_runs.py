"""Systems that run from their authors' checkouts: a program of ours, in an interpreter of theirs."""

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from longlive.benchmark.systems.facts import CHECKOUTS, SYSTEMS
from longlive.benchmark.systems.measurement import Measurement, encode_seconds
from longlive.errors import CheckpointError

PROGRAMS = Path(__file__).with_name("checkouts")
PACKAGES = {"nova": "diffnext", "pyramid-flow": "pyramid_dit", "magi-1": "inference"}
"""The folder by which each checkout is recognised."""
NEEDS_WEIGHTS = ("pyramid-flow", "magi-1")
"""Systems whose code cannot be built without files."""
MAX_SECONDS = 3600.0
_FPS = 24


@dataclass(frozen=True)
class Checkout:
    """Where a system's code is, and what runs it.

    Attributes:
        repo: the folder of the checkout; None if there is none.
        python: an interpreter that has what it needs.
        weights: folder, Hub id or config file; None for random weights, where that is possible.
    """

    repo: Path | None
    python: str
    weights: str | None


def missing(name: str, checkout: Checkout) -> str | None:
    """What a row needs that was not given, for people; None if nothing."""
    repository, weights = CHECKOUTS[name]
    if checkout.repo is None:
        code = f"github.com/{repository} in a folder (--{name}-repo)"
        return f"{code}, an environment for it (--{name}-python), {weights}"
    if name in NEEDS_WEIGHTS and not checkout.weights:
        return f"{weights} (--weights {name}=…): it cannot be built with random weights"
    return None


def measure_checkout(
    name: str,
    checkout: Checkout,
    device: torch.device,
    dtype: torch.dtype,
    *,
    steps_measured: int,
    tiny: bool,
) -> Measurement:
    """Run the program of a system and encode the pictures that it made.

    Raises:
        CheckpointError: if the checkout is not that system's, its program ends with an error, takes more than
            an hour, or prints something else than was agreed.
    """
    repo = checkout.repo
    if repo is None or not (repo / PACKAGES[name]).is_dir():
        raise CheckpointError(
            f"{repo} is no checkout of {CHECKOUTS[name][0]}: it has no folder {PACKAGES[name]}. "
            f"Clone that repository and give its folder as --{name}-repo."
        )
    with tempfile.TemporaryDirectory(prefix="longlive-") as folder:
        frames = Path(folder, "frames")
        found = _run(name, checkout, frames, device, dtype, steps_measured=steps_measured, tiny=tiny)
        return _measurement(name, found, frames)


def _run(
    name: str,
    checkout: Checkout,
    frames: Path,
    device: torch.device,
    dtype: torch.dtype,
    *,
    steps_measured: int,
    tiny: bool,
) -> dict[str, Any]:
    program = PROGRAMS / f"{name.replace('-', '_')}.py"
    words = [checkout.python, str(program), "--repo", str(checkout.repo), "--frames", str(frames)]
    words += ["--device", str(device), "--dtype", str(dtype).removeprefix("torch.")]
    words += ["--steps", str(steps_measured), "--weights", checkout.weights or "", *(["--tiny"] * tiny)]
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=MAX_SECONDS,
            cwd=checkout.repo,
            env=dict(os.environ),
        )
    except OSError as error:
        raise CheckpointError(
            f"{checkout.python} cannot be started: {error.strerror}. Give a Python as --{name}-python."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise CheckpointError(f"{name} took more than {MAX_SECONDS:g} s. Use a GPU, or --tiny.") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise CheckpointError(
            f"{SYSTEMS[name].title} ended with an error ({last}). Install what its checkout asks for into "
            f"{checkout.python}, or give another Python as --{name}-python."
        )
    return _last_json(name, done.stdout)


def _last_json(name: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text.strip().splitlines()[-1])
        return {
            key: found[key] for key in ("stages_s", "pictures", "height", "width", "steps", "steps_measured")
        }
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise CheckpointError(
            f"{name} printed no result: {text[-200:]!r}. Run it by itself to see why."
        ) from error


def _measurement(name: str, found: dict[str, Any], path: Path) -> Measurement:
    shape = found["pictures"], found["height"], found["width"], 3
    frames = np.fromfile(path, dtype=np.uint8)
    if frames.size != np.prod(shape):
        raise CheckpointError(
            f"{name} said {shape[:3]} pictures and made {frames.size} bytes. Run it by itself."
        )
    stages = dict(found["stages_s"])
    stages["encode"] = encode_seconds(frames.reshape(shape), _FPS)
    size = {key: found[key] for key in ("pictures", "height", "width", "steps", "steps_measured")}
    return Measurement(stages, **size)
