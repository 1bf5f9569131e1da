"""What a model costs, counted without running it: parameters, FLOPs of a pass and a chunk, memory."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from longlive.config import ModelConfig, StreamConfig
from longlive.generation.sampling import recache
from longlive.models.kv_cache import KVCache
from longlive.models.transformer import CausalWanTransformer
from longlive.weights.registry import config_of


def count_costs(name: str, *, dtype: torch.dtype = torch.float32, **stream: Any) -> dict[str, Any]:
    """The costs of a model by its name; nothing is computed and no weights are read.

    Args:
        name: as for ``load_models``; published models and ``mid-size`` need no files.
        dtype: of the memory.
        stream: options of the stream, by the names of StreamConfig.

    Returns:
        ``parameters`` of the transformer, or of both; ``flops_prompt`` to read a prompt; ``flops_pass`` for
        one denoising pass over a chunk with a full window, ``flops_remember`` for its clean pass,
        ``flops_chunk`` for all passes of a chunk, ``flops_recache`` for a soft switch; ``kv_bytes`` for
        self-attention and ``prompt_bytes`` for cross-attention; and the sizes that they follow from.
    """
    return costs_of(config_of(name), dtype=dtype, **stream)


def costs_of(config: ModelConfig, *, dtype: torch.dtype = torch.float32, **stream: Any) -> dict[str, Any]:
    """The costs of a model of this configuration; see ``count_costs``."""
    options = StreamConfig.of(config, **stream)
    if options.window == -1:
        options = dataclasses.replace(options, window=config.window)
    # Fake tensors have shapes and no values; only plain attention is made of products that are counted.
    with FakeTensorMode(), sdpa_kernel(SDPBackend.MATH):
        transformer = CausalWanTransformer(config.transformer)
        cache = KVCache(config.transformer, options, config.tokens_per_latent)
        costs = _count(transformer, cache, config, dtype)
        for name in ("parameters", "flops_prompt", "prompt_bytes"):
            costs[name] *= 1 + config.context_transformer
        return _sizes(config, options) | costs


def _sizes(config: ModelConfig, stream: StreamConfig) -> dict[str, Any]:
    return {
        "model": config.name,
        "height": config.height,
        "width": config.width,
        "tokens_per_latent": config.tokens_per_latent,
        "steps": len(config.steps),
    } | dataclasses.asdict(stream)


@torch.no_grad()
def _count(
    transformer: CausalWanTransformer, cache: KVCache, config: ModelConfig, dtype: torch.dtype
) -> dict[str, int]:
    stream = cache.stream
    tokens = torch.empty(1, config.text_len, config.transformer.text_dim)
    prompt = transformer.read_prompt(tokens)
    chunk = torch.empty(1, stream.chunk, *config.latent_shape)
    window, start = torch.empty(1, stream.window, *config.latent_shape), stream.window
    transformer.remember(window, 0.0, prompt, cache)
    one_pass = _flops(lambda: transformer(chunk, 0.0, prompt, cache, start=start))
    clean_pass = _flops(lambda: transformer.remember(chunk, 0.0, prompt, cache, start=start))
    return {
        "parameters": sum(parameter.numel() for parameter in transformer.parameters()),
        "flops_prompt": _flops(lambda: transformer.read_prompt(tokens)),
        "flops_pass": one_pass,
        "flops_remember": clean_pass,
        "flops_chunk": len(config.steps) * one_pass + clean_pass,
        "flops_recache": _flops(
            lambda: recache(transformer, window, prompt, cache, start=start + stream.chunk)
        ),
        "kv_bytes": cache.num_bytes * dtype.itemsize // torch.float32.itemsize,
        "prompt_bytes": sum(part.numel() for part in (*prompt.keys, *prompt.values)) * dtype.itemsize,
    }


def _flops(run: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()
