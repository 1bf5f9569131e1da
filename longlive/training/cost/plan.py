"""What a training run costs, without weights or hardware: parameters, FLOPs of a step, memory per process."""

from typing import Any

from longlive.config import StreamConfig
from longlive.training.cost.flops import PlannedModel, chunk_pass, clip_pass, count_flops, meta_transformer
from longlive.training.cost.memory_estimate import config_of, estimate_memory
from longlive.training.recipe import Recipe


def plan(recipe: Recipe, stage: str, *, has_flops: bool = True) -> dict[str, Any]:
    """The cost of a stage, as JSON: bytes of one process, FLOPs of one sample.

    Args:
        recipe: its ``run.processes`` share the work.
        has_flops: whether to count FLOPs, which takes most of the time.
    """
    run, models = recipe.run, _models(recipe, stage)
    counts = {name: _count_parameters(model) for name, model in models.items()}
    return {
        "stage": stage,
        "processes": run.processes,
        "global_batch": run.global_batch,
        "micro_batch": run.micro_batch,
        "accumulation": run.num_streams // run.processes,
        "parameters": counts,
        "flops_per_sample": _step_flops(recipe, stage, models) if has_flops else {},
        "memory_bytes": estimate_memory(recipe, stage, models, counts),
    }


def format_plan(planned: dict[str, Any]) -> str:
    """A plan as a table of several lines."""
    lines = [
        f"{planned['stage']}: {planned['processes']} processes, {planned['global_batch']} samples a step "
        f"(micro-batches of {planned['micro_batch']}, {planned['accumulation']} accumulation steps)"
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


def _models(recipe: Recipe, stage: str) -> dict[str, PlannedModel]:
    """The models of a stage by role: generator, teacher, critic."""
    names, generator = recipe.models, config_of(recipe.models.generator).transformer
    if stage == "teacher":
        return {"teacher": PlannedModel(generator, recipe.generator)}
    models = {
        "generator": PlannedModel(generator, recipe.generator),
        "teacher": PlannedModel(config_of(names.teacher).transformer, None),
    }
    if stage != "init":
        critic = config_of(names.critic or names.teacher).transformer
        models["critic"] = PlannedModel(critic, recipe.critic)
    return models


def _count_parameters(model: PlannedModel) -> dict[str, int]:
    """Parameters: all, trainable, of the largest block, and outside of the blocks."""
    transformer = meta_transformer(model)
    sizes = [(value.numel(), value.requires_grad) for value in transformer.parameters()]
    blocks = [sum(value.numel() for value in block.parameters()) for block in transformer.blocks]
    return {
        "all": sum(size for size, _ in sizes),
        "trainable": sum(size for size, is_trained in sizes if is_trained),
        "block": max(blocks),
        "rest": sum(size for size, _ in sizes) - sum(blocks),
    }


def _step_flops(recipe: Recipe, stage: str, models: dict[str, PlannedModel]) -> dict[str, int]:
    """FLOPs by kind of step, for one sample; on average half of the steps before the last one are taken."""
    config, run = config_of(recipe.models.generator), recipe.run
    whole_clip = clip_pass(config, recipe.sequences.clip)
    if stage == "teacher":
        return {"teacher_step": count_flops(whole_clip, models["teacher"], run)}
    generator, frozen = models["generator"], models["generator"]._replace(options=None)
    stream = StreamConfig.of(config, **recipe.stream)
    chunk = chunk_pass(config, stream)
    plain, trained = count_flops(chunk, frozen, run), count_flops(chunk, generator, run)
    clean = count_flops(chunk_pass(config, stream, only_remembers=True), frozen, run)
    num_chunks = recipe.sequences.clip // stream.chunk
    guided = 2 * count_flops(whole_clip, models["teacher"], run)
    if stage == "init":
        trajectory = recipe.teaching.ode_steps * guided
        return {"generator_step": num_chunks * (trained + 3 * clean), "path_of_the_ode": trajectory}
    before = plain * (len(config.steps) - 1) // 2
    critic = models["critic"]
    score = count_flops(whole_clip, critic._replace(options=None), run)
    return {
        "generator_step": num_chunks * (before + trained + clean) + score + guided,
        "critic_step": num_chunks * (before + plain + clean) + count_flops(whole_clip, critic, run),
    }
