"""Distribution matching distillation: the losses of generator and critic on a clip.

Sources: DMD2 (arXiv:2405.14867), Self-Forcing (arXiv:2506.08009), LongLive (arXiv:2509.22622). The generator
follows the difference of two scores: the teacher's of true videos, and the critic's of generated ones.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from longlive.training.objectives.flow import flow_loss, masked_mean
from longlive.training.objectives.quirks import ReleasedQuirks
from longlive.training.objectives.scores import ScoreModels


class GeneratorLoss(NamedTuple):
    """The generator's loss, float64, and the gradient (B, F, C, H, W) that it carries to the clip."""

    loss: Tensor
    gradient: Tensor


def generator_loss(
    scores: ScoreModels,
    clip: Tensor,
    text: Tensor,
    negative: Tensor,
    *,
    timesteps: Tensor,
    noise: Tensor,
    mask: Tensor | None = None,
) -> GeneratorLoss:
    """Half the mean squared gradient: its derivative by the clip is the normalised KL gradient.

    Args:
        clip: (B, F, C, H, W), generated, with its autograd history.
        text, negative: (B or 1, text_len, text_dim), tokens of the prompt and of the negative prompt.
        timesteps: (B,), of ``scores.timesteps``.
        noise: standard normals like ``clip``.
        mask: bool (F,) or (B, F), the latents that carry loss; None for all.
    """
    gradient = kl_gradient(scores, clip, text, negative, timesteps=timesteps, noise=noise, mask=mask)
    target = (clip.double() - gradient.double()).detach()
    return GeneratorLoss(0.5 * masked_mean((clip.double() - target).square(), mask), gradient)


@torch.no_grad()
def kl_gradient(
    scores: ScoreModels,
    clip: Tensor,
    text: Tensor,
    negative: Tensor,
    *,
    timesteps: Tensor,
    noise: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    """The critic's minus the teacher's clean prediction of a noisy clip, normalised: (B, F, C, H, W).

    NaN is kept, so that the trainer can stop. Arguments as in ``generator_loss``.
    """
    noisy = scores.noisy(clip, timesteps, noise)
    fake = scores.critic_clean(noisy, timesteps, text)
    real = scores.teacher_clean(noisy, timesteps, text, negative)
    gradient = (fake - real) / _normaliser(clip - real, mask, scores.quirks)
    return gradient.nan_to_num() if scores.quirks.hides_nan else gradient


def _normaliser(distance: Tensor, mask: Tensor | None, quirks: ReleasedQuirks) -> Tensor:
    """Mean size of ``distance`` (B, F, C, H, W) per sample where there is loss, as (B, 1, 1, 1, 1)."""
    sizes = distance.abs().mean(dim=(2, 3, 4))
    if mask is None or quirks.normalises_overlap:
        return sizes.mean(1).view(-1, 1, 1, 1, 1)
    kept = mask.expand(sizes.shape)
    return ((sizes * kept).sum(1) / kept.sum(1)).view(-1, 1, 1, 1, 1)


def critic_loss(
    scores: ScoreModels,
    clip: Tensor,
    text: Tensor,
    *,
    timesteps: Tensor,
    noise: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    """Flow-matching loss of the critic on a clip of the generator; arguments as in ``generator_loss``."""
    predicted = scores.critic_clean(scores.noisy(clip, timesteps, noise), timesteps, text)
    floor = scores.options.sigma_floor
    return flow_loss(predicted, clip.detach(), scores.sigmas(timesteps), mask=mask, sigma_floor=floor)
