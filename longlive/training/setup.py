"""Build a training stage from a recipe: load models, add LoRA, set the precision, shard the parameters."""

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
from longlive.training.data.clips import CleanClips
from longlive.training.data.prompt_files import Prompts
from longlive.training.data.sources import DataSources
from longlive.training.distillation import Distillation, Stream
from longlive.training.learner import Learner
from longlive.training.lora import add_lora
from longlive.training.objectives.draws import CounterRng
from longlive.training.objectives.scores import ScoreModels
from longlive.training.objectives.texts import has_same_encoder
from longlive.training.processes import Processes
from longlive.training.recipe import LearnerOptions, Recipe
from longlive.training.sharding import shard
from longlive.training.teaching import InitStage, TeacherStage
from longlive.training.trainer import ModelStage
from longlive.weights.loading import load_models, load_transformer
from longlive.weights.registry import resolve

ENTRY_POINTS = ("forward", "remember", "read_prompt")
"""Methods of a transformer that run its layers."""


def new_stage(
    name: str,
    recipe: Recipe,
    processes: Processes,
    *,
    folder: Path,
    sources: DataSources | None = None,
    clips: CleanClips | None = None,
) -> ModelStage:
    """Load the models of a recipe and build the stage ``name`` of ``recipe.STAGES``.

    Args:
        folder: of the run.
        sources: prompt sources and clip formats beyond files of our own; none by default.
        clips: for ``teacher``, in place of the clips that the recipe names.

    Raises:
        ConfigError, CheckpointError: naming what is missing or does not fit.
    """
    models, sources = _load(recipe.models.generator, recipe, processes), sources or DataSources()
    if name == "teacher":
        clips = clips or sources.open_clips(recipe.data, models.vae)
        return _teacher_stage(recipe, models, processes, clips)
    teacher = load_score_model(recipe.models.teacher, models, recipe, processes)
    if name == "init":
        return _init_stage(recipe, models, teacher, processes, sources.open_prompts(recipe.data), folder)
    return _distillation(recipe, models, teacher, processes, sources.open_prompts(recipe.data))


def _load(name: str, recipe: Recipe, processes: Processes) -> ModelBundle:
    """Load a model in float32; a transformer to be sharded stays in host memory until then."""
    models = load_models(name, device="cpu" if recipe.run.shard else processes.device)
    unsharded: tuple[nn.Module, ...] = (models.text_encoder.model, models.vae)
    for module in unsharded:
        module.to(processes.device)
    if processes.device.type == "cuda" and not recipe.teaching.trains_text:
        models.text_encoder.model.to(getattr(torch, recipe.run.precision))
    return models


def _teacher_stage(
    recipe: Recipe, models: ModelBundle, processes: Processes, clips: CleanClips
) -> ModelStage:
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
        clips=clips,
    )


def _init_stage(
    recipe: Recipe,
    models: ModelBundle,
    teacher: CausalWanTransformer,
    processes: Processes,
    prompts: Prompts,
    folder: Path,
) -> ModelStage:
    learners = {"generator": new_learner(models.transformer, recipe.generator, recipe, processes)}
    prepare(teacher, recipe, processes)
    stage = InitStage(
        recipe=recipe,
        models=models,
        scores=_scores(recipe, models, teacher, teacher),
        learners=learners,
        draws=_draws(recipe, processes),
        stream=StreamConfig.of(models.config, **recipe.stream),
        prompt_source=prompts,
        score_reader=score_text_encoder(models, recipe, processes),
        folder=folder / "pairs",
    )
    stage.solve(processes)
    return stage


def _distillation(
    recipe: Recipe, models: ModelBundle, teacher: CausalWanTransformer, processes: Processes, prompts: Prompts
) -> ModelStage:
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
        score_reader=score_text_encoder(models, recipe, processes),
        prompt_source=prompts,
        streams={number: Stream(draws=draws) for number, draws in _draws(recipe, processes).items()},
    )


def _scores(
    recipe: Recipe, models: ModelBundle, teacher: CausalWanTransformer, critic: CausalWanTransformer
) -> ScoreModels:
    return ScoreModels(teacher, critic, FlowSchedule.of(models.config), recipe.distillation, recipe.quirks)


def _draws(recipe: Recipe, processes: Processes) -> dict[int, CounterRng]:
    """The random numbers of this process's micro-batches, by number."""
    seed, size = recipe.run.seed, recipe.run.micro_batch
    return {
        number: CounterRng(seed, range(number * size, (number + 1) * size), processes.device)
        for number in processes.streams(recipe.run.num_streams)
    }


def new_learner(
    transformer: CausalWanTransformer, options: LearnerOptions, recipe: Recipe, processes: Processes
) -> Learner:
    """Prepare a transformer for full or LoRA training, in place, and build its learner."""
    transformer.requires_grad_(True)
    if options.lora_rank:
        add_lora(transformer, rank=options.lora_rank, alpha=options.alpha, seed=recipe.run.seed)
    transformer.checkpointing = recipe.run.checkpointing
    prepare(transformer, recipe, processes)
    return Learner(transformer, options, recipe.run, processes)


def prepare(transformer: CausalWanTransformer, recipe: Recipe, processes: Processes) -> None:
    """Shard a transformer if the recipe asks for it, and set its compute precision, in place."""
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

    for name in ENTRY_POINTS:
        setattr(transformer, name, autocasting(getattr(transformer, name)))


def reset_parameters(transformer: CausalWanTransformer, seed: int) -> None:
    """Initialise all weights from ``seed``, in place; the output layer is zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = CausalWanTransformer(transformer.config)
    torch.nn.init.zeros_(fresh.proj_out.weight)
    transformer.load_state_dict(fresh.state_dict())


def load_score_model(
    name: str, models: ModelBundle, recipe: Recipe, processes: Processes
) -> CausalWanTransformer:
    """Load the transformer of a teacher or critic for the generator in ``models``, in float32.

    Raises:
        ConfigError: if its latents have another shape than those of the generator.
    """
    folder = resolve(name)
    own, other = models.config, folder.config
    for fact in ("latent_shape", "text_len"):
        if getattr(own, fact) != getattr(other, fact):
            rule = f"its {fact} is {getattr(other, fact)}, but the generator's is {getattr(own, fact)}"
            raise ConfigError("model", name, rule, "Use models of the same VAE, size and text encoder.")
    device = "cpu" if recipe.run.shard else processes.device
    return nn.Module.to(load_transformer(folder), device=device, dtype=torch.float32)


def score_text_encoder(models: ModelBundle, recipe: Recipe, processes: Processes) -> TextEncoder | None:
    """The text encoder of teacher and critic; None if its files equal those of the generator's."""
    if has_same_encoder(models.folder, resolve(recipe.models.teacher).path):
        return None
    return _load(recipe.models.teacher, recipe, processes).text_encoder


def _critic(
    recipe: Recipe, models: ModelBundle, teacher: CausalWanTransformer, processes: Processes
) -> CausalWanTransformer:
    name = recipe.models.critic
    if name is None or name == recipe.models.teacher:
        return copy.deepcopy(teacher)
    return load_score_model(name, models, recipe, processes)
