"""One denoising pass over a chunk with a full window, to be timed or profiled."""

from collections.abc import Callable
from typing import Any

import torch

from longlive.benchmark.profiling import PassProfile, profile_run
from longlive.config import StreamConfig
from longlive.models.bundle import ModelBundle
from longlive.models.kv_cache import KVCache

PROMPTS = ("a red ball stands on a green meadow", "the red ball jumps on a green meadow")


def profile_pass(models: ModelBundle, **stream: Any) -> PassProfile:
    """What the machine does in one denoising pass over a chunk with a full window."""
    return profile_run(steady_pass(models, **stream), models.device)


def steady_pass(models: ModelBundle, **stream: Any) -> Callable[[], Any]:
    """One denoising pass over a chunk with a full window; may be called any number of times."""
    choices, config = StreamConfig.of(models.config, **stream), models.config
    device, dtype = models.device, models.dtype
    place: dict[str, Any] = {"device": device, "dtype": dtype, "storage": models.runtime.cache_dtype}
    cache = KVCache(config.transformer, choices, config.tokens_per_latent, **place)
    latents = torch.randn(1, choices.chunk, *config.latent_shape, device=device).to(dtype)
    window = config.window if choices.window == -1 else choices.window
    start = -(-window // choices.chunk) * choices.chunk
    for first in range(0, start, choices.chunk):
        cache.place(first, choices.chunk)
    for layer in range(config.transformer.num_layers):  # products of zeros would be faster
        for kept in (part for pair in cache.contents(layer).values() for part in pair):
            kept.copy_(torch.randn(kept.shape, device=device))

    @torch.no_grad()
    def run() -> Any:
        return models.transformer(latents, 500.0, prompt, cache, start=start)

    with torch.no_grad():
        tokens = models.text_encoder.encode(PROMPTS[0]).tokens
        prompt = models.transformer.read_prompt(tokens.to(device, dtype))
    return run
