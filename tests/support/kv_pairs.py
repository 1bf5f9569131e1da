"""Random keys and values for caches of the tiny transformer."""

import torch
from torch import Tensor

from longlive.models.kv_cache import KVCache
from longlive.models.list_cache import ListCache
from tests.support.tiny_transformer import CONFIG

TOKENS = 2
"""Of a latent."""


def pair(num_latents: int, *, batch: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    keys, values = torch.randn(2, batch, num_latents * TOKENS, 2, 12, generator=rng)
    return keys, values


def fill(cache: KVCache | ListCache, start: int, num_latents: int, *, batch: int = 1) -> None:
    slots = cache.place(start, num_latents)
    for layer in range(CONFIG.num_layers):
        cache.extend(layer, slots, *pair(num_latents, batch=batch, seed=start + layer))
