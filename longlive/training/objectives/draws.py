"""All that a run draws at random, by counter: the same for any number of processes, and after any kill.

Samples are numbered over the whole batch. Which exit step and which switch is drawn once for all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from longlive.generation.noise import draw_noise

EXIT, SWITCH, UNIFORM, DROP, STEPS = range(20, 25)
ROLLOUT, SCORE, NUM_KINDS = 0, 1, 2


@dataclass(frozen=True)
class CounterRng:
    """The draws of a run.

    Attributes:
        seed: of the run.
        samples: numbers of the samples of one micro-batch.
        device: where the tensors go; they are drawn on the CPU.
    """

    seed: int
    samples: Sequence[int]
    device: torch.device

    def exit_step(self, call: int, num_steps: int) -> int:
        """The exit step of all chunks of clip number ``call`` of the run."""
        return int(self._rng(EXIT, call).integers(num_steps))

    def switch_start(self, sequence: int, starts: Sequence[int]) -> int | None:
        """At which of ``starts`` sequence number ``sequence`` switches its prompt; None without any."""
        return int(self._rng(SWITCH, sequence).choice(starts)) if starts else None

    def steps(self, call: int, count: int, num_steps: int) -> Tensor:
        """Per sample ``count`` whole numbers below ``num_steps``; (B, count)."""
        drawn = [self._rng(STEPS, call, sample).integers(num_steps, size=count) for sample in self.samples]
        return torch.from_numpy(np.stack(drawn)).to(self.device)

    def uniform(self, call: int, *, kind: int = UNIFORM) -> Tensor:
        """A number in [0, 1) per sample, float32 (B,)."""
        drawn = [self._rng(kind, call, sample).random() for sample in self.samples]
        return torch.tensor(drawn, dtype=torch.float32, device=self.device)

    def clip_noise(self, call: int, shape: tuple[int, ...]) -> Tensor:
        """Standard normals (B, *shape) for what is asked about clip number ``call``."""
        return self._normals(shape, SCORE, call, chunk=0, step=0)

    def chunk_noise(self, sequence: int, shape: tuple[int, ...], *, chunk: int, step: int) -> Tensor:
        """Standard normals (B, *shape) that a step of a chunk of a sequence begins with."""
        return self._normals(shape, ROLLOUT, sequence, chunk=chunk, step=step)

    def _normals(self, shape: tuple[int, ...], kind: int, number: int, *, chunk: int, step: int) -> Tensor:
        drawn = [
            draw_noise(
                shape, seed=self.seed, take=_paired(number, sample) * NUM_KINDS + kind, chunk=chunk, step=step
            )
            for sample in self.samples
        ]
        return torch.stack(drawn).to(self.device)

    def _rng(self, *numbers: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *numbers])


def _paired(number: int, sample: int) -> int:
    """One whole number per pair, whatever the size of the batch."""
    return number * 2**20 + sample
