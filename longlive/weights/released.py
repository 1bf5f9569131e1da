"""LongLive's published model: its shape, and where its weights lie; and models around other checkpoints.

Revisions are pinned, so that the same weights come on every machine and day.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from longlive.config import ModelConfig, StreamConfig, TransformerConfig, sizes_text
from longlive.errors import CheckpointError, ConfigError
from longlive.models.model_card import ModelCard, Story
from longlive.weights.downloads import HubFiles
from longlive.weights.formats.lora_files import LoraFile

Origin = HubFiles | Path
"""Where weights come from: a repository's file, or a file on this machine."""


@dataclass(frozen=True)
class LoraSource:
    """A LoRA that is merged into a model, wherever it lies.

    Attributes:
        origin: its file.
        strength, scale: as in LoraFile.
    """

    origin: Origin
    strength: float = 1.0
    scale: float | None = None

    def at(self, path: Path) -> LoraFile:
        """The LoRA, once its file is on this machine."""
        return LoraFile(path, self.strength, self.scale)

    def __str__(self) -> str:
        """Its name and strength, for people."""
        return str(self.at(Path(self.origin.files[0]) if isinstance(self.origin, HubFiles) else self.origin))


@dataclass(frozen=True, kw_only=True)
class ModelSources:
    """What a model is assembled from.

    Attributes:
        config, card: its facts.
        weights: the transformer.
        loras: what is merged into it, in order.
        weights_key: which of several transformers in ``weights``; None: the one that its authors run.
        text_encoder: umT5's weights.
        parts: config of the text encoder, tokenizer and VAE, in diffusers' layout.
        tiny_vae, light_vae: optional decoders; a model is complete without them.
        dtype: what the transformer is rounded to after merging.
        licence: of the transformer's weights; empty if it is not known.
    """

    config: ModelConfig
    card: ModelCard
    weights: Origin
    text_encoder: Origin
    parts: HubFiles
    loras: tuple[LoraSource, ...] = ()
    weights_key: str | None = None
    tiny_vae: Origin | None = None
    light_vae: Origin | None = None
    dtype: torch.dtype = torch.bfloat16
    licence: str = ""

    @property
    def needed(self) -> list[HubFiles]:
        """The repositories' files that the model cannot do without."""
        origins = (self.weights, *(lora.origin for lora in self.loras), self.text_encoder, self.parts)
        return [origin for origin in origins if isinstance(origin, HubFiles)]

    def lines(self) -> Iterator[str]:
        """The recipe for people: what it is, where its transformer comes from, and how it is played."""
        if self.card.about:
            yield f"{self.config.name}: {self.card.about}"
        key = f" ({self.weights_key})" if self.weights_key else ""
        if isinstance(self.weights, HubFiles):
            yield f"from {_address(self.weights)}{key}"
        for lora in self.loras:
            where = _address(lora.origin) if isinstance(lora.origin, HubFiles) else str(lora.origin)
            yield f"with the LoRA {where}, strength {lora.strength:g}"
        if self.licence:
            yield f"licence of the transformer: {self.licence}"
        yield f"settings: {_settings(self.config)}"
        if self.card.about_sizes:
            yield self.card.about_sizes


def _address(origin: HubFiles) -> str:
    return f"{origin.repository}@{origin.revision[:12]}: {', '.join(origin.files)}"


def _settings(config: ModelConfig) -> str:
    """How a model is played, on one line."""
    steps = f"steps {' '.join(map(str, config.steps))}"
    parts = [
        f"chunks of {config.chunk}, window {config.window}, sink {config.sink}, {config.positions} positions",
        steps if config.warp_steps else f"{steps} as they are",
        *([f"first chunk {' '.join(map(str, config.first_steps))}"] if config.first_steps else []),
        f"shift {config.shift:g}",
        *([f"rollouts that overlap by {config.overlap}"] if config.overlap else []),
        *(["a second set of weights for the clean pass"] if config.context_transformer else []),
        f"pictures of {sizes_text(config.all_sizes)}",
        f"prompts change by {config.switch}",
    ]
    return "; ".join(parts)


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
    sizes=((480, 832),),
)
# Large enough for a CPU to show what copies of the cache cost; a third of the released width, half its sides.
MID_SIZE = ModelConfig(
    name="mid-size",
    transformer=TransformerConfig(
        num_attention_heads=4,
        attention_head_dim=128,
        in_channels=16,
        out_channels=16,
        text_dim=512,
        freq_dim=256,
        ffn_dim=2048,
        num_layers=8,
    ),
    height=240,
    width=416,
)

LONGLIVE = ("Efficient-Large-Model/LongLive-1.3B", "cda9138d93872ef109d9a74c270184eb3a5acc6e")
WAN = ("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "0fad780a534b6463e45facd96134c9f345acfa5b")
# The encoder in bf16, as LongLive runs it, is half the size of the one in float32 beside the other parts.
WAN_ORIGINAL = ("Wan-AI/Wan2.1-T2V-1.3B", "37ec512624d61f7aa208f7ea8140a131f93afc9a")
AUTOENCODERS = ("lightx2v/Autoencoders", "main")

ABOUT_SIZES = (
    "480x832: the base model (Wan 2.1 T2V 1.3B) was trained for it; these weights were tuned at 832x480."
)
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
    about_sizes=ABOUT_SIZES,
)

LONGLIVE_SOURCES = ModelSources(
    config=LONGLIVE_1_3B,
    card=CARD,
    weights=HubFiles(*LONGLIVE, files=("models/longlive_base.pt",)),
    # Its config has alpha = rank; the file states neither.
    loras=(LoraSource(HubFiles(*LONGLIVE, files=("models/lora.pt",)), scale=1.0),),
    licence="CC-BY-NC-SA-4.0 by its card, Apache-2.0 by the code's repository",
    text_encoder=HubFiles(*WAN_ORIGINAL, files=("models_t5_umt5-xxl-enc-bf16.pth",)),
    parts=HubFiles(
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
    tiny_vae=HubFiles(*AUTOENCODERS, files=("taew2_1.pth",)),
    light_vae=HubFiles(*AUTOENCODERS, files=("lightvaew2_1.pth",)),
)


def sources_for_checkpoint(
    checkpoint: Path,
    loras: Sequence[LoraFile] = (),
    *,
    name: str = "",
    base: ModelSources = LONGLIVE_SOURCES,
    weights_key: str | None = None,
    **facts: Any,
) -> ModelSources:
    """The sources of a model around another checkpoint: Self-Forcing, CausVid, Wan 2.1 1.3B, or your own.

    Args:
        checkpoint: its transformer, as ``read_transformer`` reads.
        loras: merged into it, in order.
        name: of the new model; the file's own name if it is empty.
        base: the model whose facts and other parts it has.
        weights_key: which of several transformers in the file; None: the one that its authors run.
        facts: fields of ModelConfig that differ from those of ``base``, such as ``window=21, sink=0``.

    Raises:
        CheckpointError: when a file does not exist.
        ConfigError: when a fact is unknown or impossible.
    """
    for path in (checkpoint, *(lora.path for lora in loras)):
        if not path.exists():
            raise CheckpointError(f"There is no file {path}. Correct the path.")
    if {"height", "width"} & facts.keys():
        facts = {"sizes": []} | facts  # those of ``base`` go with its own size
    facts = {key: _check_fact(key, value) for key, value in facts.items()}
    config = dataclasses.replace(base.config, **(facts | {"name": name or checkpoint.stem}))
    StreamConfig.of(config)  # a model that no stream can be made with is of no use
    return dataclasses.replace(
        base,
        config=config,
        card=ModelCard(
            f"Made from {checkpoint.name}{_with_loras(loras)}.",
            about_sizes=base.card.about_sizes if "sizes" not in facts else "",
        ),
        weights=checkpoint,
        loras=_sources_of(loras),
        weights_key=weights_key,
        licence="",
    )


def change_sources(
    name: str,
    sources: ModelSources | None,
    *,
    loras: Sequence[LoraFile] = (),
    weights_key: str | None = None,
) -> ModelSources:
    """A known model's sources with LoRAs, or with another of its transformers; arguments as above.

    With LoRAs it gets a name of its own, such as ``sgf+style``, so that both models can be served together. A
    LoRA that belongs to the model, as LongLive's does, is merged before them.

    Raises:
        ConfigError: if the model is not made from a checkpoint.
    """
    if sources is None:
        rule = "--lora and --weights-key change published models and checkpoints alone"
        raise ConfigError("model", name, rule, "Give the checkpoint with --checkpoint.")
    if loras:
        own_name = "+".join([sources.config.name, *(lora.path.stem for lora in loras)])
        about = f"{sources.card.about} It was made{_with_loras(loras)}."
        sources = dataclasses.replace(
            sources,
            config=dataclasses.replace(sources.config, name=own_name),
            card=dataclasses.replace(sources.card, about=about),
            loras=(*sources.loras, *_sources_of(loras)),
        )
    return dataclasses.replace(sources, weights_key=weights_key or sources.weights_key)


def _sources_of(loras: Sequence[LoraFile]) -> tuple[LoraSource, ...]:
    return tuple(LoraSource(lora.path, lora.strength, lora.scale) for lora in loras)


def _with_loras(loras: Sequence[LoraFile]) -> str:
    kind = "LoRA" if len(loras) == 1 else "LoRAs"
    return f" with the {kind} {', '.join(map(str, loras))}" * bool(loras)


def _check_fact(name: str, value: Any) -> Any:
    """A field of ModelConfig as it was given; ConfigError if there is none, or it is of another kind."""
    known = {field.name: getattr(LONGLIVE_1_3B, field.name) for field in dataclasses.fields(ModelConfig)}
    known = {key: example for key, example in known.items() if key not in ("name", "transformer")}
    if name not in known:
        rule = f"the facts of a model are {', '.join(sorted(known))}"
        raise ConfigError("fact", name, rule, "Correct the name.")
    example = known[name]
    if name == "sizes":
        return value  # read by ModelConfig, which takes pairs as files hold them
    if isinstance(example, tuple):
        if isinstance(value, list | tuple) and all(type(part) is int for part in value):
            return tuple(value)
        raise ConfigError(name, value, "it must be a list of whole numbers", f"Try {list(example)}.")
    kinds: tuple[type, ...] = (int, float) if isinstance(example, float) else (type(example),)
    if type(value) not in kinds or value != value:
        kind = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}[type(example)]
        raise ConfigError(name, value, f"it must be {kind}", f"Try {example}.")
    return value
