"""Memory of a training process: what is always allocated, and the activations of a step (on fake tensors)."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from longlive.config import ModelConfig, StreamConfig
from longlive.models.transformer import CausalWanTransformer
from longlive.training.cost.flops import PassFactory, PlannedModel, chunk_pass, clip_pass, measure_blocks
from longlive.training.recipe import Recipe
from longlive.weights.registry import resolve
from longlive.weights.released import LONGLIVE_1_3B

WAN_14B = dataclasses.replace(
    LONGLIVE_1_3B,
    name="wan-2.1-14b",
    transformer=dataclasses.replace(
        LONGLIVE_1_3B.transformer, num_attention_heads=40, ffn_dim=13824, num_layers=40
    ),
)
"""The paper's teacher; source: Wan 2.1 T2V 14B."""
WAN_1_3B = dataclasses.replace(LONGLIVE_1_3B, name="wan-2.1-1.3b")

KNOWN_CONFIGS = {config.name: config for config in (LONGLIVE_1_3B, WAN_1_3B, WAN_14B)}
"""The paper's models, which can be planned with without their files."""
UMT5_XXL, WAN_VAE = 5_680_910_336, 126_892_531
"""Parameters of Wan 2.1's text encoder and VAE."""
FLOAT32, ADAM_MOMENTS = 4, 8
"""Bytes per parameter: float32, and AdamW's two moments."""
MOST_LATENTS = 64
"""No attention in training sees more latent frames than this at a time."""


def config_of(name: str) -> ModelConfig:
    """The config of one of ``KNOWN_CONFIGS``, or of the model with this name, folder or Hub id."""
    return KNOWN_CONFIGS[name] if name in KNOWN_CONFIGS else resolve(name).config


def estimate_memory(
    recipe: Recipe,
    stage: str,
    models: Mapping[str, PlannedModel],
    counts: Mapping[str, Mapping[str, int]],
) -> dict[str, int]:
    """Bytes of one process by purpose: persistent tensors, the activations of a step, and their total.

    Args:
        models: by role, as ``plan`` finds them.
        counts: numbers of parameters by role: ``all``, ``trainable``, ``block`` (of the largest block) and
            ``rest`` (outside of the blocks).
    """
    config = config_of(recipe.models.generator)
    run, num_shards = recipe.run, recipe.run.processes if recipe.run.shard else 1
    trained = sum(count["trainable"] for count in counts.values()) // num_shards
    averaged = sum(
        counts[name]["trainable"] for name, model in models.items() if model.options and model.options.ema
    )
    width = torch.finfo(getattr(torch, run.precision)).bits // 8
    sizes = {
        "parameters": FLOAT32 * sum(count["all"] for count in counts.values()) // num_shards,
        "gathered": width * max(_num_gathered(count) for count in counts.values()) if run.shard else 0,
        "gradients": FLOAT32 * trained,
        "optimizer": ADAM_MOMENTS * trained,
        "moving average": FLOAT32 * averaged // num_shards,
        "kv cache": _kv_cache_bytes(recipe, stage, config, width),
        "text encoder and vae": _frozen_bytes(recipe.models.generator, width),
    }
    plain, checkpointed = _activation_bytes(recipe, stage, config, models)
    total = sum(sizes.values()) + (checkpointed if run.checkpointing else plain)
    return sizes | {"activations": plain, "activations, checkpointed": checkpointed, "total": total}


def _num_gathered(count: Mapping[str, int]) -> int:
    """Parameters of a sharded model gathered at a time: two blocks, and those outside of the blocks."""
    return 2 * count["block"] + count["rest"]


def _kv_cache_bytes(recipe: Recipe, stage: str, config: ModelConfig, width: int) -> int:
    """Keys and values of this process's running sequences."""
    if stage == "teacher":
        return 0
    transformer, window = config.transformer, recipe.stream.get("window", config.window)
    tokens = (window if window > 0 else recipe.sequences.max_latents) * config.tokens_per_latent
    num_sequences = recipe.run.global_batch // recipe.run.processes
    return 2 * num_sequences * transformer.num_layers * tokens * transformer.dim * width


def _frozen_bytes(name: str, width: int) -> int:
    """The text encoder, in the run's precision, and the VAE, in float32."""
    if name in KNOWN_CONFIGS:
        return width * UMT5_XXL + FLOAT32 * WAN_VAE
    folder = resolve(name).path
    files = [path for part in ("text_encoder", "vae") for path in (folder / part).glob("*.safetensors")]
    return FLOAT32 * sum(_num_values(path) for path in files)


def _num_values(path: Path) -> int:
    with safe_open(path, framework="pt") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118


def _activation_bytes(
    recipe: Recipe, stage: str, config: ModelConfig, models: Mapping[str, PlannedModel]
) -> tuple[int, int]:
    """Bytes kept for the largest backward pass of a step, without and with activation checkpointing."""
    clip, size = recipe.sequences.clip, recipe.run.micro_batch
    whole_clip = clip_pass(config, clip)
    if stage == "teacher":
        return _saved_bytes(whole_clip, models["teacher"], recipe, config, clip, size)
    stream = StreamConfig.of(config, **recipe.stream)
    passes = clip // stream.chunk * (2 if stage == "init" else 1)
    chunk = chunk_pass(config, stream)
    found = [_saved_bytes(chunk, models["generator"], recipe, config, stream.chunk, size * passes)]
    if "critic" in models:
        found.append(_saved_bytes(whole_clip, models["critic"], recipe, config, clip, size))
    return max(plain for plain, _ in found), max(checkpointed for _, checkpointed in found)


def _saved_bytes(
    prepare: PassFactory,
    model: PlannedModel,
    recipe: Recipe,
    config: ModelConfig,
    num_latents: int,
    times: int,
) -> tuple[int, int]:
    """Bytes that ``times`` passes save for backward: without, and with activation checkpointing.

    With checkpointing, the inputs of all blocks and the activations of one block are kept.
    """
    per_latent = config.tokens_per_latent
    tokens, num_layers = num_latents * per_latent, model.config.num_layers
    scores = {(tokens, config.text_len)} | {
        (tokens, latents * per_latent) for latents in range(1, MOST_LATENTS)
    }
    one, two = measure_blocks(prepare, model, recipe.run, partial(_count_saved_bytes, scores=scores))
    block = two - one
    inputs = FLOAT32 * tokens * model.config.dim
    outside = max(0, one - block)
    whole = times * (outside + num_layers * block)
    return whole, times * (outside + num_layers * inputs) + block


def _count_saved_bytes(
    transformer: CausalWanTransformer, forward: Callable[[], Tensor], scores: set[tuple[int, int]]
) -> int:
    """Bytes of the distinct storages that autograd saves, without parameters and attention scores.

    The math backend, whose FLOPs are counted, saves scores; fused attention does not.
    """
    saved: dict[int, int] = {}
    own = {parameter.untyped_storage()._cdata for parameter in transformer.parameters()}

    def record(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own and tuple(tensor.shape[-2:]) not in scores:
            saved[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        forward()
    return sum(saved.values())
