"""What a run would take, told without weights or hardware: parameters, FLOPs of a step, memory per GPU.

The three models are built on the meta device. FLOPs and activations are counted, not estimated: the real
passes run on fake tensors of full size through models of one and of two blocks, and what the second block
adds counts once for each of the others.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from longlive.checkpoints import read_config
from longlive.config import ModelConfig, StreamConfig, TransformerConfig
from longlive.hub import find_model
from longlive.kv_cache import ListCache
from longlive.released import LONGLIVE_1_3B
from longlive.training.lora import add_lora
from longlive.training.recipe import LearnerOptions, Recipe
from longlive.transformer import CausalWanTransformer

WAN_14B = dataclasses.replace(
    LONGLIVE_1_3B,
    name="wan-2.1-14b",
    transformer=dataclasses.replace(
        LONGLIVE_1_3B.transformer, num_attention_heads=40, ffn_dim=13824, num_layers=40
    ),
)
"""The paper's teacher; source: Wan 2.1 T2V 14B."""
WAN_1_3B = dataclasses.replace(LONGLIVE_1_3B, name="wan-2.1-1.3b")
KNOWN = {config.name: config for config in (LONGLIVE_1_3B, WAN_1_3B, WAN_14B)}
UMT5_XXL, WAN_VAE = 5_680_910_336, 126_892_531
"""Parameters of Wan 2.1's text encoder and VAE."""
MASTER, MOMENTS = 4, 8
"""Bytes per parameter: float32, and AdamW's two moments."""

Trio = dict[str, tuple[TransformerConfig, LearnerOptions | None]]
"""Each model's shape, and how it is trained; None if it is not."""
Prepare = Callable[[CausalWanTransformer], Callable[[], Tensor]]
"""A transformer -> a pass through it, ready to run."""


def plan(recipe: Recipe, stage: str, *, has_flops: bool = True) -> dict[str, Any]:
    """The plan of a stage, as plain numbers and words: bytes of one process, FLOPs of one sample.

    Args:
        recipe: whose ``run.processes`` share the work.
        has_flops: whether to count them, which takes most of the time.
    """
    facts = config_of(recipe.models.generator)
    trio = _trio(recipe, stage)
    counted = {name: _parameters(*model) for name, model in trio.items()}
    run = recipe.run
    return {
        "stage": stage,
        "processes": run.processes,
        "global_batch": run.global_batch,
        "micro_batch": run.micro_batch,
        "accumulation": run.num_streams // run.processes,
        "parameters": counted,
        "flops_per_sample": _flops_of_steps(recipe, stage, facts, trio) if has_flops else {},
        "memory_bytes": _memory(recipe, stage, facts, trio, counted),
    }


def config_of(name: str) -> ModelConfig:
    """The facts of a model; those of the paper's need no files."""
    return KNOWN[name] if name in KNOWN else read_config(find_model(name))


def told(planned: dict[str, Any]) -> str:
    """A plan in lines for people."""
    lines = [
        f"{planned['stage']}: {planned['processes']} processes, {planned['global_batch']} samples a step "
        f"({planned['micro_batch']} at a time, {planned['accumulation']} after one another)"
    ]
    for name, count in planned["parameters"].items():
        lines.append(
            f"{name:10}{count['all'] / 1e6:12,.1f} M parameters,{count['trainable'] / 1e6:12,.1f} M trained"
        )
    for name, flops in planned["flops_per_sample"].items():
        lines.append(f"{name:30}{flops / 1e12:14,.4g} TFLOP per sample")
    lines.append("memory of each process:")
    lines += [f"  {name:28}{size / 2**30:12,.2f} GiB" for name, size in planned["memory_bytes"].items()]
    return "\n".join(lines)


def _trio(recipe: Recipe, stage: str) -> Trio:
    """Each model's shape, and how it is trained; None if it is not."""
    names, generator = recipe.models, config_of(recipe.models.generator).transformer
    if stage == "teacher":
        return {"teacher": (generator, recipe.generator)}
    teacher = config_of(names.teacher).transformer
    models: Trio = {
        "generator": (generator, recipe.generator),
        "teacher": (teacher, None),
    }
    if stage != "init":
        models["critic"] = (config_of(names.critic or names.teacher).transformer, recipe.critic)
    return models


def _parameters(config: TransformerConfig, options: LearnerOptions | None) -> dict[str, int]:
    """How many parameters a model has, and how many of them are trained."""
    transformer = _on_meta(config, options)
    sizes = [(value.numel(), value.requires_grad) for value in transformer.parameters()]
    blocks = [sum(value.numel() for value in block.parameters()) for block in transformer.blocks]
    return {
        "all": sum(size for size, _ in sizes),
        "trainable": sum(size for size, is_trained in sizes if is_trained),
        "block": max(blocks),
        "rest": sum(size for size, _ in sizes) - sum(blocks),
    }


def _flops_of_steps(recipe: Recipe, stage: str, facts: ModelConfig, trio: Trio) -> dict[str, int]:
    """FLOPs by kind of step, for one sample; half of the steps before the last are taken on the average."""
    whole_clip = _clip_pass(facts, recipe.sequences.clip)
    if stage == "teacher":
        return {"teacher_step": _flops(whole_clip, trio["teacher"], recipe)}
    shape, options = trio["generator"]
    stream = StreamConfig.of(facts, **recipe.stream)
    chunk, clean = _chunk_pass(facts, stream), _chunk_pass(facts, stream, only_remembers=True)
    plain, trained, kept = (
        _flops(chunk, (shape, None), recipe),
        _flops(chunk, (shape, options), recipe),
        _flops(clean, (shape, None), recipe),
    )
    num_chunks, guided = (
        recipe.sequences.clip // stream.chunk,
        2 * _flops(whole_clip, trio["teacher"], recipe),
    )
    if stage == "init":
        path = recipe.teaching.ode_steps * guided
        return {"generator_step": num_chunks * (trained + 3 * kept), "path_of_the_ode": path}
    before = plain * (len(facts.steps) - 1) // 2
    critic = trio["critic"][0]
    seen, judged = _flops(whole_clip, (critic, None), recipe), _flops(whole_clip, trio["critic"], recipe)
    return {
        "generator_step": num_chunks * (before + trained + kept) + seen + guided,
        "critic_step": num_chunks * (before + plain + kept) + judged,
    }


def _clip_pass(facts: ModelConfig, num_latents: int) -> Prepare:
    """A bidirectional pass over a clip, the reading of its prompt included."""

    def prepare(transformer: CausalWanTransformer) -> Callable[[], Tensor]:
        tokens = _empty(transformer, facts.text_len, transformer.config.text_dim)
        latents, timestep = _empty(transformer, num_latents, *facts.latent_shape), torch.zeros(1, 1)
        return lambda: transformer(latents, timestep, transformer.read_prompt(tokens))

    return prepare


def _chunk_pass(facts: ModelConfig, stream: StreamConfig, *, only_remembers: bool = False) -> Prepare:
    """A pass over a chunk with a full window behind it."""

    def prepare(transformer: CausalWanTransformer) -> Callable[[], Tensor]:
        past = (stream.window if stream.window > 0 else facts.window) - stream.chunk
        cache = ListCache(transformer.config, stream, facts.tokens_per_latent)
        with torch.no_grad():
            prompt = transformer.read_prompt(_empty(transformer, facts.text_len, transformer.config.text_dim))
            transformer.remember(_empty(transformer, past, *facts.latent_shape), 0.0, prompt, cache)
        chunk = _empty(transformer, stream.chunk, *facts.latent_shape)
        if only_remembers:
            return lambda: transformer.remember(chunk, 0.0, prompt, cache, start=past)[0]
        return lambda: transformer(chunk, 0.0, prompt, cache, start=past)

    return prepare


def _empty(transformer: CausalWanTransformer, *shape: int) -> Tensor:
    return torch.empty(1, *shape, dtype=transformer.proj_out.weight.dtype)


def _flops(prepare: Prepare, model: tuple[TransformerConfig, LearnerOptions | None], recipe: Recipe) -> int:
    """FLOPs of a pass, and of its backward pass if the model is trained; checkpointing adds a pass."""
    config, options = model

    def measure(transformer: CausalWanTransformer, run: Callable[[], Tensor]) -> int:
        transformer.checkpointing = recipe.run.checkpointing
        return _counted_flops(lambda: _with_backward(run, options))

    one, two = _counted(config, options, recipe, prepare, measure)
    return one + (config.num_layers - 1) * (two - one)


def _counted(
    config: TransformerConfig,
    options: LearnerOptions | None,
    recipe: Recipe,
    prepare: Prepare,
    measure: Callable[[CausalWanTransformer, Callable[[], Tensor]], int],
) -> tuple[int, int]:
    """What ``measure`` gives for a model of one block, and of two."""
    dtype, counted = getattr(torch, recipe.run.precision), []
    for num_layers in (1, 2):
        transformer = _on_meta(dataclasses.replace(config, num_layers=num_layers), options)
        with (
            FakeTensorMode(allow_non_fake_inputs=True),
            sdpa_kernel(SDPBackend.MATH),
            torch.set_grad_enabled(options is not None),
        ):
            _fake(transformer, dtype)
            counted.append(measure(transformer, prepare(transformer)))
    return counted[0], counted[1]


def _on_meta(config: TransformerConfig, options: LearnerOptions | None) -> CausalWanTransformer:
    """A model without memory, of which all is trained, a LoRA or nothing."""
    with torch.device("meta"):
        transformer = CausalWanTransformer(config)
    transformer.requires_grad_(options is not None)
    if options is not None and options.lora_rank:
        add_lora(transformer, rank=options.lora_rank, alpha=options.alpha)
    return transformer


def _fake(transformer: CausalWanTransformer, dtype: torch.dtype) -> None:
    """Fake parameters on a CPU in place of those on the meta device, which autocast does not know."""
    for module in transformer.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            fake = torch.empty(value.shape, dtype=dtype)
            setattr(module, name, torch.nn.Parameter(fake, value.requires_grad))


def _with_backward(run: Callable[[], Tensor], options: LearnerOptions | None) -> None:
    output = run()
    if options is not None:
        output.float().sum().backward()


def _counted_flops(run: Callable[[], None]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


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
