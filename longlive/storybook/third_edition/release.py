"""Writes the third edition in the layout that ``load_models`` reads, with both decoders and the card.

    python -m longlive.storybook.third_edition.release --folder runs/third --out runs/third/release

Needs ``codec.safetensors``, ``generator.safetensors`` and ``tokenizer`` of the trainings in FOLDER.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from longlive.files import atomic_write
from longlive.models.model_card import ModelCard, Story
from longlive.storybook.generator import StorybookModel
from longlive.storybook.third_edition.codec import LATENT_CHANNELS, Codec
from longlive.storybook.third_edition.codec_training import read_codec
from longlive.storybook.third_edition.generator import third_edition_config
from longlive.storybook.third_edition.reader import known_words
from longlive.storybook.third_edition.vocabulary import tokenizer_of
from longlive.weights.layout import DECODERS, WEIGHTS, write_json
from longlive.weights.saving import save_models

ABOUT = (
    "A picture book that draws itself: a cat, dog, rabbit, penguin, robot or dragon in one of nine "
    "colours stands, walks, jumps, spins, waves, dances, sleeps or floats on a meadow, at the beach, "
    "in the desert, the forest, the snow or the city, at a castle, under water or in space, by day, "
    "dusk or night, in rain or snow, and puts on a hat or a scarf or takes an umbrella or a balloon."
)
STORIES = (
    Story(
        "The cat gets a hat",
        (
            (0.0, "a red cat waves at a castle"),
            (5.0, "the red cat puts on a hat at a castle"),
            (10.0, "the red cat with a hat dances at a castle at night"),
        ),
    ),
    Story(
        "A dragon in the city",
        (
            (0.0, "a green dragon walks right in the city"),
            (6.0, "the green dragon opens an umbrella in the city in the rain"),
            (12.0, "the green dragon with an umbrella jumps in the city in the rain"),
        ),
    ),
    Story(
        "A robot travels",
        (
            (0.0, "a blue robot floats in space"),
            (6.0, "a blue robot floats under water"),
            (12.0, "a blue robot sleeps on the beach at dusk"),
        ),
    ),
)


def write_model(folder: Path, target: Path) -> None:
    """Write the weights that the trainings left in ``folder`` to ``target``, in half precision.

    Args:
        folder: with ``codec.safetensors``, ``generator.safetensors`` and ``tokenizer``.
        target: made if it does not exist; files in it are overwritten.
    """
    config, tokenizer = third_edition_config(), tokenizer_of(folder)
    model, codec = StorybookModel(config, len(tokenizer)), read_codec(folder, torch.device("cpu"))
    model.load_state_dict(load_file(folder / "generator.safetensors"), strict=False)
    save_parts(target, model, codec, tokenizer)


def save_parts(target: Path, model: StorybookModel, codec: Codec, tokenizer: object) -> None:
    """Convert the parts to half precision, in place, and write them to ``target``."""
    statistics = {
        "latents_mean": codec.mean.tolist(),
        "latents_std": [float(codec.std)] * LATENT_CHANNELS,
    }
    codec.wan.register_to_config(**statistics)
    save_models(
        target,
        config=third_edition_config(),
        transformer=model.transformer.half(),
        vae=codec.wan.half(),
        text_encoder=model.text_encoder.half(),
        tokenizer=tokenizer,  # type: ignore[arg-type]
        card=ModelCard(about=ABOUT, words=known_words(), stories=STORIES),
    )
    tiny = target / DECODERS["tiny"]
    write_json(tiny / "config.json", {"_class_name": "TinyVae"} | codec.tiny.config)
    state = {name: value.detach().half().contiguous() for name, value in codec.tiny.state_dict().items()}
    with atomic_write(tiny / WEIGHTS) as part:
        save_file(state, part, metadata={"format": "pt"})


def main(arguments: list[str] | None = None) -> None:
    """Write the model that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    write_model(options.folder, options.out)


if __name__ == "__main__":
    main()
