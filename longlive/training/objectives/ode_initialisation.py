"""Causal initialisation: the generator's first weights, from a bidirectional teacher's ODE.

Sources: CausVid (arXiv:2412.07772) and Self-Forcing (arXiv:2506.08009). The teacher's ODE leads from noise to
a clip; the causal student, at the levels of its few steps, learns to go to the end in one step.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from longlive.config import StreamConfig
from longlive.generation.flow_matching import (
    NUM_TIMESTEPS,
    FlowSchedule,
    clean_to_velocity,
    prediction_to_clean,
)
from longlive.generation.sampling import remember_chunk
from longlive.models.list_cache import ListCache
from longlive.models.transformer import CausalWanTransformer
from longlive.training.objectives.scores import Scores


class OdePairs(NamedTuple):
    """A path of the teacher's ODE, seen at the student's steps.

    Attributes:
        noisy: (S, B, F, C, H, W), where the path was at each of the student's S steps, noisiest first.
        clean: (B, F, C, H, W), where it ended.
    """

    noisy: Tensor
    clean: Tensor


@torch.no_grad()
def ode_pairs(
    scores: Scores, noise: Tensor, text: Tensor, negative: Tensor, *, num_steps: int = 48
) -> OdePairs:
    """Solve the teacher's guided ODE from ``noise`` to its end, by Euler's steps.

    Args:
        scores: of which the teacher, the guidance and the student's timetable are used.
        noise: standard normals (B, F, C, H, W).
        text, negative: (B or 1, text_len, text_dim), as in ``generator_loss``.
        num_steps: evenly over the timetable; the student's own levels are visited as well.
    """
    levels = scores.timetable.sigmas.tolist()
    wanted = [NUM_TIMESTEPS - step for step in scores.timetable.steps]
    path = sorted({NUM_TIMESTEPS * step // num_steps for step in range(num_steps)} | set(wanted))
    noisy, seen = noise, {}
    for entry, following in zip(path, [*path[1:], None], strict=True):
        seen[entry] = noisy
        sigma, next_sigma = levels[entry], 0.0 if following is None else levels[following]
        timesteps = torch.full((len(noisy),), sigma * NUM_TIMESTEPS, device=noisy.device)
        clean = scores.teacher_clean(noisy, timesteps, text, negative)
        noisy = noisy + (next_sigma - sigma) * clean_to_velocity(clean, noisy, sigma)
    return OdePairs(torch.stack([seen[entry] for entry in wanted]), noisy)


def initialisation_loss(
    transformer: CausalWanTransformer,
    pairs: OdePairs,
    text: Tensor,
    *,
    timetable: FlowSchedule,
    stream: StreamConfig,
    tokens_per_latent: int,
    steps: Tensor,
) -> Tensor:
    """Mean squared error of the causal student's clean latents, chunk after chunk through the cache.

    Each chunk sees the true ends of those before it, with gradients through what is remembered.

    Args:
        pairs: what to learn.
        text: (B or 1, text_len, text_dim).
        steps: whole numbers (B, chunks), from which of the student's steps each chunk starts.
    """
    prompt = transformer.read_prompt(text)
    cache = ListCache(transformer.config, stream, tokens_per_latent)
    timesteps = torch.tensor(timetable.warped_steps, device=pairs.clean.device)[steps]
    sigmas = timetable.sigmas_of(timesteps).view(*steps.shape, 1, 1, 1, 1)
    samples = torch.arange(len(pairs.clean), device=pairs.clean.device)
    losses = []
    for number, clean in enumerate(pairs.clean.split(stream.chunk, 1)):
        start = number * stream.chunk
        noisy = pairs.noisy[steps[:, number], samples, start : start + stream.chunk]
        output = transformer(noisy, timesteps[:, number, None], prompt, cache, start=start)
        predicted = prediction_to_clean(output, noisy, sigmas[:, number], transformer.config.prediction)
        losses.append((predicted - clean).square().mean())
        if start + stream.chunk < pairs.clean.shape[1]:
            remember_chunk(transformer, clean, prompt, cache, start=start, with_grad=True)
    return torch.stack(losses).mean()
