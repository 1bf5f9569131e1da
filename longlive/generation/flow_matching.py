"""Flow matching as Wan 2.1 and LongLive do it: schedule, noising, and clean latents from a prediction.

Source: rectified flow (arXiv:2209.03003); the schedule of 1000 entries and the rule of the nearest one
are the released code's (shift 5, no entry at 0: the lowest sigma is 0.00498).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from longlive.config import ModelConfig, Prediction

NUM_TIMESTEPS = 1000


@dataclass(frozen=True)
class FlowSchedule:
    """Timesteps t in [0, 1000] and their noise levels sigma in [0, 1].

    Attributes:
        shift: larger values spend more steps at high noise.
        steps: timesteps before warping, noisiest first.
        warp: whether the shift moves the steps, too.
    """

    shift: float
    steps: tuple[int, ...]
    warp: bool = True

    @classmethod
    def of(cls, model: ModelConfig, *, first: bool = False) -> "FlowSchedule":
        """The schedule that a checkpoint was trained with; if ``first``, that of a video's first chunk."""
        steps = (model.first_steps if first else ()) or model.steps
        return cls(model.shift, tuple(steps), model.warp_steps)

    @property
    def sigmas(self) -> Tensor:
        """The 1000 noise levels, float32, falling from 1."""
        even = torch.linspace(1.0, 0.0, NUM_TIMESTEPS + 1, device="cpu")[:-1]
        return self.shift * even / (1 + (self.shift - 1) * even)

    @property
    def warped_steps(self) -> tuple[float, ...]:
        """The timesteps at which the sampler runs: ``steps`` moved to where the shift puts them."""
        if not self.warp:
            return tuple(float(step) for step in self.steps)
        padded = [*(self.sigmas * NUM_TIMESTEPS).tolist(), 0.0]
        return tuple(padded[NUM_TIMESTEPS - step] for step in self.steps)

    def sigma_of(self, timestep: float) -> float:
        """The noise level of the table's entry nearest to ``timestep`` in [0, 1000]."""
        sigmas = self.sigmas
        return float(sigmas[(sigmas * NUM_TIMESTEPS - timestep).abs().argmin()])

    def sigmas_of(self, timesteps: Tensor) -> Tensor:
        """Noise levels of timesteps of any shape, by the same rule; float32, same shape and device."""
        sigmas = self.sigmas.to(timesteps.device)
        nearest = (sigmas * NUM_TIMESTEPS - timesteps.float().unsqueeze(-1)).abs().argmin(-1)
        return sigmas[nearest]


def add_noise(clean: Tensor, noise: Tensor, sigma: Tensor | float) -> Tensor:
    """``(1 - sigma) * clean + sigma * noise``, in the dtype of ``clean``; sigma in [0, 1] broadcasts."""
    if isinstance(sigma, Tensor):
        return ((1 - sigma) * clean + sigma * noise).to(clean.dtype)
    return (1 - sigma) * clean + sigma * noise


def velocity_to_clean(velocity: Tensor, noisy: Tensor, sigma: Tensor | float) -> Tensor:
    """The clean latents that a velocity (noise - clean) implies: ``noisy - sigma * velocity``.

    Computed in float64, returned in the dtype of ``noisy``; sigma in [0, 1] broadcasts.
    """
    if isinstance(sigma, Tensor):
        sigma = sigma.double()
    return (noisy.double() - sigma * velocity.double()).to(noisy.dtype)


def clean_to_velocity(clean: Tensor, noisy: Tensor, sigma: Tensor | float) -> Tensor:
    """The inverse of ``velocity_to_clean``; sigma must be above 0."""
    if isinstance(sigma, Tensor):
        sigma = sigma.double()
    return ((noisy.double() - clean.double()) / sigma).to(noisy.dtype)


def prediction_to_clean(
    output: Tensor, noisy: Tensor, sigma: Tensor | float, prediction: Prediction
) -> Tensor:
    """The clean latents that a network's output stands for, whichever it predicts.

    Returned in the dtype of ``noisy``, also when autocast has lowered that of the output.
    """
    return velocity_to_clean(output, noisy, sigma) if prediction == "velocity" else output.to(noisy.dtype)
