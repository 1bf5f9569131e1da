"""The pictures that a run begins with, on disk until its first chunk is there: raw, since they are few."""

from pathlib import Path
from typing import Any

import numpy as np

from longlive.errors import SessionFileError

NAME = "start.bin"
FACT = "start"
"""Among the run's facts: the shape of the pictures."""


def write_start(folder: Path, pictures: np.ndarray | None) -> dict[str, Any]:
    """Write pictures, uint8 (N, H, W, 3), into a run's folder; returns the facts that they add.

    Raises:
        OSError: if they cannot be written.
    """
    if pictures is None:
        return {}
    (folder / NAME).write_bytes(pictures.tobytes())
    return {FACT: list(pictures.shape)}


def read_start(folder: Path, facts: dict[str, Any]) -> np.ndarray | None:
    """What ``write_start`` wrote; None if the run begins without pictures.

    Raises:
        SessionFileError: if they are gone or damaged.
    """
    if FACT not in facts:
        return None
    try:
        data = (folder / NAME).read_bytes()
        return np.frombuffer(data, np.uint8).reshape(facts[FACT])
    except (OSError, ValueError, TypeError) as error:
        raise SessionFileError(f"The picture that the video begins with cannot be read: {error}.") from error
