"""Noise by counter: the same seed, take, chunk and step give the same numbers, whatever was drawn before.

Source: Philox4x64 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), as in numpy.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from longlive.errors import ConfigError

MAX_SEED = 2**63 - 1


def draw_noise(shape: tuple[int, ...], *, seed: int, take: int, chunk: int, step: int) -> Tensor:
    """Standard normals of ``shape``, float32, drawn on the CPU so that every device gets the same.

    Args:
        shape: of the result.
        seed, take: the key, different for each stream.
        chunk, step: the counter, different for each draw of a stream.
    """
    key = np.array([seed, take], dtype=np.uint64)
    # The lowest word of the counter counts the numbers drawn; the others identify the draw.
    counter = np.array([0, step, chunk, 0], dtype=np.uint64)
    normals = np.random.Generator(np.random.Philox(key=key, counter=counter))
    return torch.from_numpy(normals.standard_normal(shape, dtype=np.float32))


@dataclass(frozen=True)
class Reseed:
    """From a chunk on, the noise is drawn with another seed."""

    chunk: int
    seed: int

    def __post_init__(self) -> None:
        """Check both; ConfigError as for ``check_seed``."""
        check_seed(self.chunk, "chunk")
        check_seed(self.seed)


@dataclass(frozen=True)
class NoiseSource:
    """The noise of one stream, on the device and in the dtype that its latents are computed in.

    Attributes:
        seed, take: as for ``draw_noise``.
        shape: (1, F, C, H, W) of a chunk.
        device, dtype: of the result.
        reseeds: other seeds from some chunks on, in order.
    """

    seed: int
    take: int
    shape: tuple[int, ...]
    device: torch.device
    dtype: torch.dtype
    reseeds: tuple[Reseed, ...] = ()

    def of_chunk(self, chunk: int) -> Callable[[int], Tensor]:
        """The noise of each step of a chunk, as ``denoise_chunk`` asks for it."""

        seed = [self.seed, *(one.seed for one in self.reseeds if one.chunk <= chunk)][-1]

        def of_step(step: int) -> Tensor:
            noise = draw_noise(self.shape, seed=seed, take=self.take, chunk=chunk, step=step)
            if self.device.type == "cuda":
                noise = noise.pin_memory()  # else the host would wait for the copy, at each step
            return noise.to(self.device, non_blocking=True).to(self.dtype)

        return of_step


def check_seed(seed: int, name: str = "seed") -> int:
    """The seed (or take) itself; ConfigError when it is not a whole number from 0 to 2**63 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise ConfigError(name, seed, "it must be a whole number from 0 to 2**63 - 1", "Try 7.")
    return seed
