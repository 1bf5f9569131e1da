"""Where a measurement comes from: the machine, the versions and the revision of the code."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch

from longlive import __version__


def device_name(device: torch.device) -> str:
    """What computes: the GPU's name, or the processor's kind and its number of cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {os.cpu_count()} cores)"


def processor_name() -> str:
    """The processor's model as its maker calls it, where the system tells."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def git_revision() -> str | None:
    """The short name of the commit that the package lies in; None outside of a repository."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Of the package, Python and the libraries that compute."""
    packages = ("torch", "diffusers", "transformers", "av")
    own = {"longlive": __version__, "python": platform.python_version()}
    return own | {name: metadata.version(name) for name in packages}
