"""Distribution matching distillation: the losses of generator and critic on a clip.

Sources: DMD2 (arXiv:2405.14867), Self-Forcing (arXiv:2506.08009), LongLive (arXiv:2509.22622). The generator
goes where the teacher, who knows true videos, and the critic, who knows the generator's, disagree.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from longlive.training.objectives.flow import flow_loss, masked_mean
from longlive.training.objectives.options import ReleasedQuirks
from longlive.training.objectives.scores import Scores


class GeneratorLoss(NamedTuple):
    """The generator's loss, float64, and the gradient (B, F, C, H, W) that it carries to the clip."""

    loss: Tensor
    gradient: Tensor


def generator_loss(
    scores: Scores,
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
        clip: (B, F, C, H, W), of the generator, with its history.
        text, negative: (B or 1, text_len, text_dim), the prompt and what guidance leads away from.
        timesteps: (B,), of ``scores.timesteps``.
        noise: standard normals like ``clip``.
        mask: bool (F,) or (B, F), the latents that carry loss; None for all.
    """
    gradient = kl_gradient(scores, clip, text, negative, timesteps=timesteps, noise=noise, mask=mask)
    target = (clip.double() - gradient.double()).detach()
    return GeneratorLoss(0.5 * masked_mean((clip.double() - target).square(), mask), gradient)


@torch.no_grad()
def kl_gradient(
    scores: Scores,
    clip: Tensor,
    text: Tensor,
    negative: Tensor,
    *,
    timesteps: Tensor,
    noise: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    """What the critic sees in a noisy clip minus what the teacher sees, normalised; (B, F, C, H, W).

    NaN stays NaN, so that the trainer can stop. Arguments as in ``generator_loss``.
    """
    noisy = scores.noisy(clip, timesteps, noise)
    seen = scores.critic_clean(noisy, timesteps, text)
    wanted = scores.teacher_clean(noisy, timesteps, text, negative)
    gradient = (seen - wanted) / _normaliser(clip - wanted, mask, scores.defects)
    return gradient.nan_to_num() if scores.defects.hides_nan else gradient


def _normaliser(distance: Tensor, mask: Tensor | None, defects: ReleasedQuirks) -> Tensor:
    """Mean size of ``distance`` (B, F, C, H, W) per sample where there is loss, as (B, 1, 1, 1, 1)."""
    sizes = distance.abs().mean(dim=(2, 3, 4))
    if mask is None or defects.normalises_overlap:
        return sizes.mean(1).view(-1, 1, 1, 1, 1)
    kept = mask.expand(sizes.shape)
    return ((sizes * kept).sum(1) / kept.sum(1)).view(-1, 1, 1, 1, 1)


def critic_loss(
    scores: Scores,
    clip: Tensor,
    text: Tensor,
    *,
    timesteps: Tensor,
    noise: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    """Flow-matching loss of the critic on a clip of the generator; arguments as in ``generator_loss``."""
    seen = scores.critic_clean(scores.noisy(clip, timesteps, noise), timesteps, text)
    floor = scores.options.sigma_floor
    return flow_loss(seen, clip.detach(), scores.sigmas(timesteps), mask=mask, sigma_floor=floor)
