"""Flow matching: how teachers learn from clean clips, and the measure that critics share.

Source: rectified flow (arXiv:2209.03003); the weights over timesteps are Wan's, as in the released scheduler.
"""

import torch
from torch import Tensor

from longlive.generation.flow_matching import NUM_TIMESTEPS, FlowSchedule, add_noise
from longlive.models.transformer import CausalWanTransformer
from longlive.training.objectives.scores import predict_clean


def timestep_weights(timetable: FlowSchedule) -> Tensor:
    """Weights of the flow-matching loss at the timetable's 1000 timesteps, float32: a bell of mean 1.

    ``exp(-2 ((t - 500) / 1000)^2)``, moved to minimum 0.
    """
    bell = torch.exp(-2 * (timetable.sigmas - 0.5).square())
    raised = bell - bell.min()
    return raised / raised.mean()


def flow_loss(
    predicted: Tensor,
    clean: Tensor,
    sigma: Tensor,
    *,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    sigma_floor: float = 0.0,
) -> Tensor:
    """Mean squared error of the velocity that goes with ``predicted``.

    Both velocities point from the same noisy latents, so their difference is that of the clean latents over
    sigma, whichever of the two the network predicts.

    Args:
        predicted, clean: (B, F, C, H, W).
        sigma: (B,), above 0.
        mask: bool (F,) or (B, F), the latents that count; None for all.
        weights: (B,), of the samples.
        sigma_floor: noise levels below it weigh no more than it.
    """
    levels = sigma.clamp_min(sigma_floor).view(-1, 1, 1, 1, 1)
    errors = ((predicted - clean) / levels).square()
    if weights is not None:
        errors = errors * weights.view(-1, 1, 1, 1, 1)
    return masked_mean(errors, mask)


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of ``values`` (B, F, C, H, W) over the latents of ``mask``, bool (F,) or (B, F)."""
    return values.mean() if mask is None else values[mask.expand(values.shape[:2])].mean()


def teacher_loss(
    transformer: CausalWanTransformer,
    clean: Tensor,
    text: Tensor,
    *,
    timetable: FlowSchedule,
    uniform: Tensor,
    noise: Tensor,
    sigma_floor: float = 0.0,
    is_weighted: bool = True,
) -> Tensor:
    """Flow-matching loss of a bidirectional transformer on clean clips.

    Args:
        clean: (B, F, C, H, W).
        text: (B, text_len, text_dim), as PromptEmbedding.tokens; those of the negative prompt now and then,
            so that guidance works.
        uniform: (B,), random numbers in [0, 1), which entry of the timetable each clip is noised by.
        noise: standard normals like ``clean``.
        sigma_floor: as in ``flow_loss``; with 1 the loss is the mean squared error of the clean latents.
        is_weighted: weigh timesteps as Wan does, whose bell gives (almost) none to pure noise; else evenly.
    """
    entries = (uniform * NUM_TIMESTEPS).long()
    sigma = timetable.sigmas.to(clean.device)[entries]
    noisy = add_noise(clean, noise, sigma.view(-1, 1, 1, 1, 1))
    predicted = predict_clean(
        transformer, noisy, sigma * NUM_TIMESTEPS, transformer.read_prompt(text), timetable
    )
    weights = timestep_weights(timetable).to(clean.device)[entries] if is_weighted else None
    return flow_loss(predicted, clean, sigma, weights=weights, sigma_floor=sigma_floor)
