"""Release a trained model: averaged weights in half precision, with the model card."""

from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from longlive.config import ModelConfig
from longlive.errors import CheckpointError
from longlive.models.bundle import ModelBundle
from longlive.models.model_card import ModelCard, PromptPart, Story
from longlive.storybook.generator import StorybookModel, generator_trainer, storybook_config
from longlive.storybook.vocabulary import tokenizer_of
from longlive.storybook.world.captions import known_words, prompt_phrases
from longlive.training.checkpoint import Checkpoints, read_averages
from longlive.training.processes import Processes
from longlive.weights.loading import load_models
from longlive.weights.saving import save_models

ABOUT = (
    "A picture book that draws itself: a ball, cube, star or cat in red, orange, yellow, green, blue or "
    "purple stands, walks left or right, jumps, spins, floats, or grows and shrinks on a meadow, at the "
    "beach, in the desert, in a night forest or in the snow, in fine weather, in rain or while it snows."
)
STORIES = (
    Story(
        "A ball goes for a walk",
        (
            (0.0, "a red ball stands on a green meadow"),
            (5.0, "the red ball jumps on a green meadow"),
            (10.0, "the red ball walks right on a green meadow in the rain"),
        ),
    ),
    Story(
        "The night cat",
        (
            (0.0, "a blue cat walks left in a night forest"),
            (6.0, "the blue cat spins in a night forest"),
            (12.0, "the blue cat floats in a night forest while it snows"),
        ),
    ),
    Story(
        "A star breathes by the sea",
        (
            (0.0, "a purple star grows and shrinks on the beach"),
            (6.0, "the purple star walks right on the beach"),
        ),
    ),
    Story(
        "Winter cube",
        (
            (0.0, "an orange cube jumps in the snow while it snows"),
            (6.0, "the orange cube stands still in the snow"),
        ),
    ),
    Story(
        "Round the world",
        (
            (0.0, "a yellow ball walks right in the desert"),
            (6.0, "a yellow ball walks right on the beach"),
            (12.0, "a yellow ball walks right in the snow"),
        ),
    ),
)


def write_model(folder: Path, target: Path, *, seed: int = 0) -> None:
    """Write the averaged weights of the newest checkpoint in ``folder`` to ``target``, in our layout.

    Args:
        folder: of the training: ``vae/``, ``tokenizer/`` and ``generator/checkpoints``.
        target: such as ``assets/storybook``; its files are overwritten.
        seed: of the training.

    Raises:
        CheckpointError: if the generator has no checkpoint there.
    """
    newest = Checkpoints(folder / "generator" / "checkpoints", Processes(), keep=1).newest()
    if newest is None:
        raise CheckpointError(f"{folder / 'generator'} holds no checkpoint. Train the generator stage first.")
    config, tokenizer = storybook_config(), tokenizer_of(folder, seed)
    model, averages = StorybookModel(config, len(tokenizer)), read_averages(newest, "generator")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(averages[name])
    vae = AutoencoderKLWan.from_pretrained(folder / "vae")
    _save(target, config, (model.transformer, vae, model.text_encoder), tokenizer)


def rewrite_model(models: ModelBundle, target: Path) -> None:
    """Convert ``models`` to half precision, in place, and write them to ``target`` with the model card."""
    parts = (models.transformer, models.vae, models.text_encoder.model)
    _save(target, models.config, parts, models.text_encoder.tokenizer)


def storybook_card() -> ModelCard:
    """What people are told about the model."""
    phrases = prompt_phrases()
    parts = tuple(PromptPart(name, phrases[name], optional=name in ("place", "weather")) for name in phrases)
    return ModelCard(about=ABOUT, words=known_words(), stories=STORIES, parts=parts)


def _save(target: Path, config: ModelConfig, parts: tuple[Any, Any, Any], tokenizer: Any) -> None:
    transformer, vae, text_encoder = (part.half() for part in parts)
    save_models(
        target,
        config=config,
        transformer=transformer,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        card=storybook_card(),
    )


def begin_from(source: Path | str, folder: Path, *, seed: int = 0) -> None:
    """Prepare ``folder`` for further training of the model in ``source``: the inverse of ``write_model``.

    Codec and tokenizer are copied; the generator stage then starts from the weights at step 0, with a fresh
    optimizer. Does nothing if ``folder`` already holds a checkpoint.

    Args:
        source: name, folder or Hub id of the model.
        folder: of the training.
        seed: of the training.
    """
    if (folder / "generator" / "checkpoints").exists():
        return
    models = load_models(source)
    folder.mkdir(parents=True, exist_ok=True)
    models.text_encoder.tokenizer.save_pretrained(folder / "tokenizer")
    AutoencoderKLWan.from_pretrained(models.folder / "vae").float().save_pretrained(folder / "vae")
    weights = {f"transformer.{name}": value for name, value in models.transformer.state_dict().items()}
    weights |= {
        f"text_encoder.{name}": value for name, value in models.text_encoder.model.state_dict().items()
    }
    trainer = generator_trainer(folder, steps=0, processes=Processes(), seed=seed)
    learner = trainer.stage.learners["generator"]
    learner.load_parameters({"parameters": weights, "average": weights})
    trainer.save(0)
