"""The published model ``longlive-1.3b``: its facts, and where its weights lie.

Revisions are pinned, so that the same weights come on every machine and day.
"""

import dataclasses
from pathlib import Path
from typing import Any

from longlive.config import ModelConfig, TransformerConfig
from longlive.errors import CheckpointError, ConfigError
from longlive.models.model_card import ModelCard, Story
from longlive.weights.assembly import Recipe
from longlive.weights.downloads import Source

# Source: Wan 2.1 T2V 1.3B, and LongLive's inference config.
LONGLIVE_1_3B = ModelConfig(
    name="longlive-1.3b",
    transformer=TransformerConfig(
        num_attention_heads=12,
        attention_head_dim=128,
        in_channels=16,
        out_channels=16,
        text_dim=4096,
        freq_dim=256,
        ffn_dim=8960,
        num_layers=30,
    ),
    height=480,
    width=832,
)

LONGLIVE = ("Efficient-Large-Model/LongLive-1.3B", "cda9138d93872ef109d9a74c270184eb3a5acc6e")
WAN = ("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "0fad780a534b6463e45facd96134c9f345acfa5b")
# The encoder in bf16, as LongLive runs it, is half the size of the one in float32 beside the other parts.
WAN_ORIGINAL = ("Wan-AI/Wan2.1-T2V-1.3B", "37ec512624d61f7aa208f7ea8140a131f93afc9a")
DECODERS = ("lightx2v/Autoencoders", "main")

CARD = ModelCard(
    about="LongLive: Wan 2.1 with 1.3 billion parameters, tuned to go on and to follow new prompts. Its "
    "weights are under CC-BY-NC-SA-4.0 by their card, and under Apache-2.0 by the code's repository.",
    stories=(
        Story(
            "A fox in the snow",
            (
                (0.0, "A red fox walks through deep snow in a birch forest, soft morning light, wide shot."),
                (10.0, "The red fox stops in the birch forest, lifts its head and looks into the camera."),
                (20.0, "The red fox runs away through the birch forest, snow flying up behind it."),
            ),
        ),
    ),
)

LONGLIVE_RECIPE = Recipe(
    config=LONGLIVE_1_3B,
    card=CARD,
    weights=Source(*LONGLIVE, files=("models/longlive_base.pt",)),
    lora=Source(*LONGLIVE, files=("models/lora.pt",)),
    text_encoder=Source(*WAN_ORIGINAL, files=("models_t5_umt5-xxl-enc-bf16.pth",)),
    parts=Source(
        *WAN,
        files=(
            "text_encoder/config.json",
            "tokenizer/tokenizer.json",
            "tokenizer/tokenizer_config.json",
            "vae/config.json",
            "vae/diffusion_pytorch_model.safetensors",
        ),
        optional=("tokenizer/special_tokens_map.json",),
    ),
    tiny_vae=Source(*DECODERS, files=("taew2_1.pth",)),
    light_vae=Source(*DECODERS, files=("lightvaew2_1.pth",)),
)
RECIPES = {LONGLIVE_1_3B.name: LONGLIVE_RECIPE}


def recipe_of(
    checkpoint: Path, lora: Path | None = None, *, name: str = "", lora_scale: float = 1.0, **facts: Any
) -> Recipe:
    """A recipe for another checkpoint of this family: Self-Forcing, CausVid, plain Wan 2.1 1.3B, one's own.

    Args:
        checkpoint: its transformer; ``.pt``, ``.pth`` or ``.safetensors``, in any of the layouts that
            ``names.py`` and ``conversion.py`` read.
        lora: to be merged into it, ``lora_scale`` (alpha / rank) times.
        name: what people call it; the file's own name if it is empty.
        facts: fields of ModelConfig that differ from LongLive's, such as ``window=21, sink=0``.

    Raises:
        CheckpointError: when a file is not there, or a fact is impossible.
    """
    for path in (checkpoint, lora):
        if path is not None and not path.is_file():
            raise CheckpointError(f"There is no file {path}. Correct the path.")
    facts = {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}
    try:
        config = dataclasses.replace(LONGLIVE_1_3B, **(facts | {"name": name or checkpoint.stem}))
    except TypeError as error:
        fields = sorted(field.name for field in dataclasses.fields(ModelConfig))
        raise ConfigError(
            "facts", facts, f"the facts of a model are {', '.join(fields)}", "Correct it."
        ) from error
    return dataclasses.replace(
        LONGLIVE_RECIPE,
        config=config,
        card=ModelCard(f"Made from {checkpoint.name}."),
        weights=checkpoint,
        lora=lora,
        lora_scale=lora_scale,
    )
