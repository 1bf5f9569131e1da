"""Noise from a counter: the same seed, take, chunk and step give the same normals, whatever was drawn before.

Source: Philox4x64 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), as in numpy.
"""

import numpy as np
import torch
from torch import Tensor

from longlive.errors import ConfigError

MAX_SEED = 2**63 - 1


def draw_noise(shape: tuple[int, ...], *, seed: int, take: int, chunk: int, step: int) -> Tensor:
    """Standard normals of ``shape``, float32, drawn on the CPU so that every device gets the same.

    Args:
        shape: of the result.
        seed, take: the key; they tell streams apart.
        chunk, step: the counter; they tell the draws of one stream apart.
    """
    key = np.array([seed, take], dtype=np.uint64)
    # The lowest word of the counter runs while numbers are drawn; the others place the draw.
    counter = np.array([0, step, chunk, 0], dtype=np.uint64)
    normals = np.random.Generator(np.random.Philox(key=key, counter=counter))
    return torch.from_numpy(normals.standard_normal(shape, dtype=np.float32))


def check_seed(seed: int, name: str = "seed") -> int:
    """The seed (or take) itself; ConfigError when it is not a whole number from 0 to 2**63 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise ConfigError(name, seed, "it must be a whole number from 0 to 2**63 - 1", "Try 7.")
    return seed
