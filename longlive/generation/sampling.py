"""Few-step sampling of one chunk, its clean pass into the cache, and the recache at a prompt switch.

The only sampling code in the repository: streaming, training and tests all call these functions.
Sources: Self-Forcing (arXiv:2506.08009) for the steps, LongLive (arXiv:2509.22622) for the recache.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from longlive.generation.flow_matching import FlowSchedule, add_noise, prediction_to_clean
from longlive.models.attention import PromptMemory
from longlive.models.kv_cache import Cache
from longlive.models.transformer import CausalWanTransformer


def denoise_chunk(
    transformer: CausalWanTransformer,
    noise: Callable[[int], Tensor],
    prompt: PromptMemory,
    cache: Cache,
    timetable: FlowSchedule,
    *,
    start: int,
    exit_step: int | None = None,
    with_grad: bool = False,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """The clean latents (B, F, C, H, W) of the next chunk.

    After each step but the last, fresh noise of the next level replaces the noise; there is no ODE step.

    Args:
        noise: gives standard normals (B, F, C, H, W): at 0 what to start from, at s those before step s.
        start: number of the chunk's first latent since the start of the video.
        exit_step: index of the step whose clean latents are returned; None for the last.
        with_grad: let gradients flow through that step (cache: a ListCache); those before it never carry any.
        on_step: told each step's index and clean latents.
    """
    timesteps = timetable.warped_steps
    last = len(timesteps) - 1 if exit_step is None else exit_step
    noisy = noise(0)
    for step, timestep in enumerate(timesteps[: last + 1]):
        with torch.set_grad_enabled(with_grad and step == last):
            output = transformer(noisy, timestep, prompt, cache, start=start)
            sigma = timetable.sigma_of(timestep)
            clean = prediction_to_clean(output, noisy, sigma, transformer.config.prediction)
        if on_step is not None:
            on_step(step, clean)
        if step < last:
            noisy = add_noise(clean, noise(step + 1), timetable.sigma_of(timesteps[step + 1]))
    return clean


def remember_chunk(
    transformer: CausalWanTransformer,
    clean: Tensor,
    prompt: PromptMemory,
    cache: Cache,
    *,
    start: int,
    context_noise: float | None = None,
    with_grad: bool = False,
) -> None:
    """Leave a finished chunk in the cache, free of noise.

    Args:
        clean: (B, F, C, H, W), as ``denoise_chunk`` returned it; not noised here.
        start: number of the chunk's first latent since the start of the video.
        context_noise: timestep label of this pass, in [0, 1000]; None for the one of ``cache.stream``.
        with_grad: let gradients flow through what is remembered (cache: a ListCache).
    """
    label = cache.stream.context_noise if context_noise is None else context_noise
    with torch.set_grad_enabled(with_grad):
        transformer.remember(clean, label, prompt, cache, start=start)


def recache(
    transformer: CausalWanTransformer,
    window: Tensor,
    prompt: PromptMemory,
    cache: Cache,
    *,
    start: int,
    context_noise: float | None = None,
    with_grad: bool = False,
) -> None:
    """Rebuild the cache from the latents already made, as if ``prompt`` had made them.

    One pass over the remembered latents, which see each other both ways (as in the released code, which
    prepares a causal mask but never uses it). Once the window has rolled, the sink keeps the old prompt's
    keys and values if ``cache.stream.global_sink``; otherwise the window's oldest latents become the sink.

    Args:
        window: (B, R, C, H, W), the latents before ``start``: at least as many as the cache remembers.
        start: number of the first latent of the next chunk since the start of the video.
        context_noise: timestep label of this pass, in [0, 1000]; None for the one of ``cache.stream``.
        with_grad: let gradients flow through what is remembered (cache: a ListCache).

    Raises:
        ValueError: if ``window`` holds too few latents.
    """
    num_latents = cache.num_remembered
    if window.shape[1] < num_latents:
        raise ValueError(f"the window holds {window.shape[1]} latents, but the cache remembers {num_latents}")
    if cache.has_rolled and cache.stream.global_sink:
        num_latents -= cache.stream.sink
    else:
        cache.reset()
    if num_latents:
        remember_chunk(
            transformer,
            window[:, window.shape[1] - num_latents :],
            prompt,
            cache,
            start=start - num_latents,
            context_noise=context_noise,
            with_grad=with_grad,
        )
