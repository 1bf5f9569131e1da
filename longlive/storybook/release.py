"""From a training folder to the model that people load: averaged weights, in half precision, and its card."""

from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from longlive.config import ModelConfig
from longlive.models.bundle import ModelBundle
from longlive.models.model_card import ModelCard, Story
from longlive.storybook.generator import Storyteller, new_optimizer, storybook_config
from longlive.storybook.progress import save_checkpoint
from longlive.storybook.vocabulary import tokenizer_of
from longlive.storybook.world.captions import known_words
from longlive.training.optimizer import MovingAverage
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
    """Write the model that the training in ``folder`` has made so far to ``target``, in our layout.

    Args:
        folder: where the stages left ``vae/``, ``tokenizer/`` and ``generator.pt``.
        target: such as ``assets/storybook``; its files are overwritten.
        seed: of the training.
    """
    config, tokenizer = storybook_config(), tokenizer_of(folder, seed)
    model = Storyteller(config, len(tokenizer))
    state = torch.load(folder / "generator.pt", weights_only=True)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(state["average"][name])
    vae = AutoencoderKLWan.from_pretrained(folder / "vae")
    _save(target, config, (model.transformer, vae, model.text_encoder), tokenizer)


def rewrite_model(models: ModelBundle, target: Path) -> None:
    """Write ``models``, whose weights become half precision by this, to ``target`` with this world's card."""
    parts = (models.transformer, models.vae, models.text_encoder.model)
    _save(target, models.config, parts, models.text_encoder.tokenizer)


def _save(target: Path, config: ModelConfig, parts: tuple[Any, Any, Any], tokenizer: Any) -> None:
    transformer, vae, text_encoder = (part.half() for part in parts)
    save_models(
        target,
        config=config,
        transformer=transformer,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        card=ModelCard(about=ABOUT, words=known_words(), stories=STORIES),
    )


def begin_from(source: Path, folder: Path) -> None:
    """Prepare ``folder`` for training on from the model in ``source``: the inverse of ``write_model``.

    Codec and tokenizer are copied; the generator stage then starts from the weights at step 0,
    with a fresh optimizer. Nothing happens if ``folder`` holds a checkpoint already.
    """
    if (folder / "generator.pt").exists():
        return
    models = load_models(source)
    model = Storyteller(models.config, len(models.text_encoder.tokenizer))
    model.transformer.load_state_dict(models.transformer.state_dict())
    model.text_encoder.load_state_dict(models.text_encoder.model.state_dict())
    folder.mkdir(parents=True, exist_ok=True)
    models.text_encoder.tokenizer.save_pretrained(folder / "tokenizer")
    AutoencoderKLWan.from_pretrained(models.folder / "vae").float().save_pretrained(folder / "vae")
    optimizer, average = new_optimizer(model, 3e-3), MovingAverage(model, 0.995)
    save_checkpoint(folder / "generator.pt", 0, model, optimizer, average)
