"""What a run would take, told without weights or hardware: parameters, FLOPs of a step, memory per GPU.

The three models are built on the meta device. FLOPs and activations are counted, not estimated: the real
passes run on fake tensors of full size through models of one and of two blocks, and what the second block
adds counts once for each of the others.
"""

from typing import Any

from longlive.config import ModelConfig, StreamConfig, TransformerConfig
from longlive.training.flops import _chunk_pass, _clip_pass, _flops, _on_meta
from longlive.training.memory_estimate import _memory
from longlive.training.model_sizes import Trio, config_of
from longlive.training.recipe import LearnerOptions, Recipe


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
