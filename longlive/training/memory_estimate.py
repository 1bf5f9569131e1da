"""Memory of a training process, counted on fake tensors."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from longlive.config import ModelConfig, StreamConfig, TransformerConfig
from longlive.models.transformer import CausalWanTransformer
from longlive.training.flops import Prepare, _chunk_pass, _clip_pass, _counted
from longlive.training.model_sizes import KNOWN, Trio
from longlive.training.recipe import LearnerOptions, Recipe
from longlive.weights.registry import find_model

UMT5_XXL, WAN_VAE = 5_680_910_336, 126_892_531
"""Parameters of Wan 2.1's text encoder and VAE."""


MASTER, MOMENTS = 4, 8
"""Bytes per parameter: float32, and AdamW's two moments."""


def _counted_activations(
    transformer: CausalWanTransformer, run: Callable[[], Tensor], scores: set[tuple[int, int]]
) -> int:
    """Bytes of the distinct storages that autograd keeps, but for parameters and attention's scores.

    Fused attention keeps no scores; the plain one, whose FLOPs are counted, does.
    """
    kept: dict[int, int] = {}
    own = {parameter.untyped_storage()._cdata for parameter in transformer.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own and tuple(tensor.shape[-2:]) not in scores:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(kept.values())


def _memory(
    recipe: Recipe, stage: str, facts: ModelConfig, trio: Trio, counted: dict[str, dict[str, int]]
) -> dict[str, int]:
    """Bytes of one process: what stays, and the most that a step adds."""
    run, share = recipe.run, recipe.run.processes if recipe.run.shard else 1
    trained = sum(count["trainable"] for count in counted.values()) // share
    averaged = sum(
        counted[name]["trainable"] for name, (_, options) in trio.items() if options and options.ema
    )
    width = torch.finfo(getattr(torch, run.precision)).bits // 8
    sizes = {
        "parameters": MASTER * sum(count["all"] for count in counted.values()) // share,
        "gathered": width * max(_gathered(count) for count in counted.values()) if run.shard else 0,
        "gradients": MASTER * trained,
        "optimizer": MOMENTS * trained,
        "moving average": MASTER * averaged // share,
        "kv cache": _kv_bytes(recipe, stage, facts, width),
        "text encoder and vae": _other_bytes(recipe.models.generator, width),
    }
    plain, checkpointed = _activations(recipe, stage, facts, trio)
    total = sum(sizes.values())
    chosen = checkpointed if run.checkpointing else plain
    return sizes | {
        "activations": plain,
        "activations, checkpointed": checkpointed,
        "total": total + chosen,
    }


def _gathered(count: dict[str, int]) -> int:
    """Parameters of a sharded model that are whole at a time: two blocks, and what is outside of all."""
    return 2 * count["block"] + count["rest"]


def _kv_bytes(recipe: Recipe, stage: str, facts: ModelConfig, width: int) -> int:
    """Keys and values of this process's running sequences."""
    if stage == "teacher":
        return 0
    shape, window = facts.transformer, recipe.stream.get("window", facts.window)
    tokens = (window if window > 0 else recipe.sequences.max_latents) * facts.tokens_per_latent
    own = recipe.run.global_batch // recipe.run.processes
    return 2 * own * shape.num_layers * tokens * shape.dim * width


def _other_bytes(name: str, width: int) -> int:
    """The text encoder, in the run's precision, and the VAE, in float32."""
    if name in KNOWN:
        return width * UMT5_XXL + MASTER * WAN_VAE
    folder = find_model(name)
    text, vae = (
        sum(_numel(path) for path in (folder / part).glob("*.safetensors"))
        for part in ("text_encoder", "vae")
    )
    return MASTER * (text + vae)


def _numel(path: Path) -> int:
    with safe_open(path, framework="pt") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118


def _activations(recipe: Recipe, stage: str, facts: ModelConfig, trio: Trio) -> tuple[int, int]:
    """Bytes kept for the largest backward pass of a step, without and with checkpointing of the blocks."""
    clip, size = recipe.sequences.clip, recipe.run.micro_batch
    if stage == "teacher":
        return _kept(_clip_pass(facts, clip), trio["teacher"], recipe, facts, clip, size)
    stream = StreamConfig.of(facts, **recipe.stream)
    passes = clip // stream.chunk * (2 if stage == "init" else 1)
    found = [_kept(_chunk_pass(facts, stream), trio["generator"], recipe, facts, stream.chunk, size * passes)]
    if "critic" in trio:
        found.append(_kept(_clip_pass(facts, clip), trio["critic"], recipe, facts, clip, size))
    return max(plain for plain, _ in found), max(checkpointed for _, checkpointed in found)


def _kept(
    prepare: Prepare,
    model: tuple[TransformerConfig, LearnerOptions | None],
    recipe: Recipe,
    facts: ModelConfig,
    num_latents: int,
    times: int,
) -> tuple[int, int]:
    """Bytes that ``times`` passes keep: whole, and with only the blocks' inputs and one block at a time."""
    config, options = model
    tokens = num_latents * facts.tokens_per_latent
    scores = {(tokens, facts.text_len)} | {
        (tokens, latents * facts.tokens_per_latent) for latents in range(1, 64)
    }
    one, two = _counted(config, options, recipe, prepare, partial(_counted_activations, scores=scores))
    block = two - one
    inputs = MASTER * tokens * config.dim
    outside = max(0, one - block)
    whole = times * (outside + config.num_layers * block)
    return whole, times * (outside + config.num_layers * inputs) + block
