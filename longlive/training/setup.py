"""From a recipe to a stage: models loaded, LoRA put in, precision set, parameters spread."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from longlive.config import StreamConfig
from longlive.errors import ConfigError
from longlive.generation.flow_matching import FlowSchedule
from longlive.models.bundle import ModelBundle
from longlive.models.text_encoder import TextEncoder
from longlive.models.transformer import CausalWanTransformer
from longlive.training.data.clips import CleanClips, ShardedClips
from longlive.training.data.prompt_files import ListedPrompts, Prompts
from longlive.training.distillation import Distillation, Stream
from longlive.training.learner import Learner
from longlive.training.lora import add_lora
from longlive.training.objectives.draws import CounterRng
from longlive.training.objectives.scores import Scores
from longlive.training.objectives.texts import has_same_encoder
from longlive.training.processes import Processes
from longlive.training.recipe import LearnerOptions, Recipe
from longlive.training.sharding import shard
from longlive.training.stages import Stage
from longlive.training.teaching import InitStage, TeacherStage
from longlive.weights.loading import load_models, load_transformer, read_config
from longlive.weights.registry import find_model

CALLED = ("forward", "remember", "read_prompt")
"""The ways into a transformer."""


def new_stage(
    name: str, recipe: Recipe, processes: Processes, *, folder: Path, clips: CleanClips | None = None
) -> Stage:
    """The stage ``name``, its models loaded.

    Args:
        folder: of the run.
        clips: for ``teacher``, in place of those that the recipe names.

    Raises:
        ConfigError, CheckpointError: naming what is missing or does not fit.
    """
    models = _loaded(recipe.models.generator, recipe, processes)
    if name == "teacher":
        return _teacher_stage(recipe, models, processes, clips)
    teacher = load_score_model(recipe.models.teacher, models, recipe, processes)
    if name == "init":
        return _init_stage(recipe, models, teacher, processes, folder)
    return _distillation(recipe, models, teacher, processes)


def _loaded(name: str, recipe: Recipe, processes: Processes) -> ModelBundle:
    """A model in float32; one to be sharded waits in host memory, and goes to the GPU unit by unit."""
    models = load_models(name, device="cpu" if recipe.run.shard else processes.device)
    aside: tuple[nn.Module, ...] = (models.text_encoder.model, models.vae)
    for module in aside:
        module.to(processes.device)
    if processes.device.type == "cuda" and not recipe.teaching.trains_text:
        models.text_encoder.model.to(getattr(torch, recipe.run.precision))
    return models


def _teacher_stage(
    recipe: Recipe, models: ModelBundle, processes: Processes, clips: CleanClips | None
) -> Stage:
    if recipe.teaching.is_fresh:
        reset_parameters(models.transformer, recipe.run.seed)
    learners = {"teacher": new_learner(models.transformer, recipe.generator, recipe, processes)}
    if recipe.teaching.trains_text:
        models.text_encoder.model.requires_grad_(True)
        learners["text"] = Learner(models.text_encoder.model, recipe.generator, recipe.run, processes)
    return TeacherStage(
        recipe=recipe,
        models=models,
        scores=_scores(recipe, models, models.transformer, models.transformer),
        learners=learners,
        draws=_draws(recipe, processes),
        clips=clips or clip_source(recipe, models),
    )


def _init_stage(
    recipe: Recipe, models: ModelBundle, teacher: CausalWanTransformer, processes: Processes, folder: Path
) -> Stage:
    learners = {"generator": new_learner(models.transformer, recipe.generator, recipe, processes)}
    prepare(teacher, recipe, processes)
    stage = InitStage(
        recipe=recipe,
        models=models,
        scores=_scores(recipe, models, teacher, teacher),
        learners=learners,
        draws=_draws(recipe, processes),
        stream=StreamConfig.of(models.config, **recipe.stream),
        prompt_source=prompt_source(recipe),
        score_reader=other_reader(models, recipe, processes),
        folder=folder / "pairs",
    )
    stage.solve(processes)
    return stage


def _distillation(
    recipe: Recipe, models: ModelBundle, teacher: CausalWanTransformer, processes: Processes
) -> Stage:
    critic = _critic(recipe, models, teacher, processes)
    learners = {
        "generator": new_learner(models.transformer, recipe.generator, recipe, processes),
        "critic": new_learner(critic, recipe.critic, recipe, processes),
    }
    prepare(teacher, recipe, processes)
    return Distillation(
        recipe=recipe,
        models=models,
        stream=StreamConfig.of(models.config, **recipe.stream),
        scores=_scores(recipe, models, teacher, critic),
        learners=learners,
        score_reader=other_reader(models, recipe, processes),
        prompt_source=prompt_source(recipe),
        streams={number: Stream(draws=draws) for number, draws in _draws(recipe, processes).items()},
    )


def _scores(
    recipe: Recipe, models: ModelBundle, teacher: CausalWanTransformer, critic: CausalWanTransformer
) -> Scores:
    return Scores(teacher, critic, FlowSchedule.of(models.config), recipe.distillation, recipe.defects)


def _draws(recipe: Recipe, processes: Processes) -> dict[int, CounterRng]:
    """Those of this process's micro-batches."""
    seed, size = recipe.run.seed, recipe.run.micro_batch
    return {
        number: CounterRng(seed, range(number * size, (number + 1) * size), processes.device)
        for number in processes.streams(recipe.run.num_streams)
    }


def new_learner(
    transformer: CausalWanTransformer, options: LearnerOptions, recipe: Recipe, processes: Processes
) -> Learner:
    """A transformer made ready to be trained whole or by LoRA, in place."""
    transformer.requires_grad_(True)
    if options.lora_rank:
        add_lora(transformer, rank=options.lora_rank, alpha=options.alpha, seed=recipe.run.seed)
    transformer.checkpointing = recipe.run.checkpointing
    prepare(transformer, recipe, processes)
    return Learner(transformer, options, recipe.run, processes)


def prepare(transformer: CausalWanTransformer, recipe: Recipe, processes: Processes) -> None:
    """Let a transformer compute in the run's precision, spread over the processes if asked, in place."""
    dtype = getattr(torch, recipe.run.precision)
    if recipe.run.shard:
        shard(transformer, processes, dtype=dtype)
    if dtype != torch.float32:
        compute_in(transformer, dtype, processes.device.type)


def compute_in(transformer: CausalWanTransformer, dtype: torch.dtype, device_type: str) -> None:
    """Run a transformer's matrix products in ``dtype``; parameters and results stay float32. In place."""

    def autocasting(method: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            with torch.autocast(device_type, dtype):
                result = method(*args, **options)
            return result.float() if isinstance(result, torch.Tensor) else result

        return call

    for name in CALLED:
        setattr(transformer, name, autocasting(getattr(transformer, name)))


def reset_parameters(transformer: CausalWanTransformer, seed: int) -> None:
    """Fresh weights, in place; what comes out is zero at first."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = CausalWanTransformer(transformer.config)
    torch.nn.init.zeros_(fresh.proj_out.weight)
    transformer.load_state_dict(fresh.state_dict())


def load_score_model(
    name: str, models: ModelBundle, recipe: Recipe, processes: Processes
) -> CausalWanTransformer:
    """The frozen transformer of a teacher or critic of the generator in ``models``.

    Raises:
        ConfigError: if it sees other latents than the generator makes.
    """
    folder = find_model(name)
    mine, others = models.config, read_config(folder)
    for fact in ("latent_shape", "text_len"):
        if getattr(mine, fact) != getattr(others, fact):
            rule = f"its {fact} is {getattr(others, fact)}, but the generator's is {getattr(mine, fact)}"
            raise ConfigError("model", name, rule, "Use models of the same VAE, size and text encoder.")
    place = "cpu" if recipe.run.shard else processes.device
    return nn.Module.to(load_transformer(folder), device=place, dtype=torch.float32)


def other_reader(models: ModelBundle, recipe: Recipe, processes: Processes) -> TextEncoder | None:
    """The text encoder of teacher and critic; None if it is the generator's own, file by file."""
    if has_same_encoder(models.folder, find_model(recipe.models.teacher)):
        return None
    return _loaded(recipe.models.teacher, recipe, processes).text_encoder


def prompt_source(recipe: Recipe) -> Prompts:
    """Where the recipe's prompts come from."""
    if recipe.data.prompts == "storybook":
        from longlive.storybook.sources import StorybookPrompts

        return StorybookPrompts()
    return ListedPrompts.read(recipe.data.prompts, recipe.data.next_prompts)


def clip_source(recipe: Recipe, models: ModelBundle) -> CleanClips:
    """Where the recipe's clean clips come from."""
    folder = recipe.data.clips
    if folder is None:
        raise ConfigError("data.clips", None, "a teacher learns from clean clips", "Name a folder of shards.")
    if any(Path(folder).glob("shard-*.safetensors")):
        from longlive.storybook.clean_clips import StorybookClips

        return StorybookClips.read(folder, models.vae)
    return ShardedClips.read(folder)


def _critic(
    recipe: Recipe, models: ModelBundle, teacher: CausalWanTransformer, processes: Processes
) -> CausalWanTransformer:
    name = recipe.models.critic
    if name is None or name == recipe.models.teacher:
        return copy.deepcopy(teacher)
    return load_score_model(name, models, recipe, processes)
