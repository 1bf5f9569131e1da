"""The layout of a model's folder: diffusers', with ``longlive.json`` for what diffusers has no field for.

``transformer/``, ``vae/``, ``text_encoder/``, ``tokenizer/`` and ``scheduler/`` hold a config and
safetensors each, and so does ``context_transformer/`` where a model has one; ``tiny_vae/`` and
``light_vae/`` are optional decoders. This module reads and writes the config files;
``loading.py`` and ``saving.py`` handle the weights.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

from longlive.config import LATER_FACTS, ModelConfig, TransformerConfig
from longlive.errors import CheckpointError, ConfigError, reason_of
from longlive.files import atomic_write, read_text
from longlive.models.model_card import ModelCard
from longlive.weights.formats.weight_files import sha256_of

FORMAT = 1
FACTS = "longlive.json"
SOURCES = "sources.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
TEXT_WEIGHTS = "model.safetensors"
PARTS = {
    "transformer": ("longlive", "CausalWanTransformer"),
    "vae": ("diffusers", "AutoencoderKLWan"),
    "text_encoder": ("transformers", "UMT5EncoderModel"),
    "tokenizer": ("transformers", "PreTrainedTokenizerFast"),
    "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler"),
}
# A second set of the transformer's parameters, for models that have one.
CONTEXT_TRANSFORMER = "context_transformer"
# The folder of each decoder that ``load_models(decoder=...)`` accepts.
DECODERS = {"wan": "vae", "tiny": "tiny_vae", "light": "light_vae"}
# Facts that change nothing that the model makes: with others, it is still the same model.
UNHASHED_FACTS = ("card", "sizes")
# Fields of a ModelConfig that come from the other config files, and of longlive.json that are not its own.
_ELSEWHERE = ("transformer", "spatial_scale", "temporal_scale")
_EXTRA_FACTS = ("format", "prediction", "card")
# What a Wan VAE's config may leave out.
_WAN_VAE = {"z_dim": 16, "scale_factor_spatial": 8, "scale_factor_temporal": 4}
# Fields of diffusers' WanTransformer3DModel that ours lacks: each has this value, or is left out.
_FIXED = {
    "qk_norm": "rms_norm_across_heads",
    "image_dim": None,
    "added_kv_proj_dim": None,
    "pos_embed_seq_len": None,
}


@dataclass(frozen=True)
class ModelFolder:
    """A model's folder whose config files have been read; no weights are loaded.

    Attributes:
        name: what the model was asked for by: a known name, a folder or a Hub id.
        path: the folder.
        config: of the model.
        facts: what ``longlive.json`` holds.
    """

    name: str
    path: Path
    config: ModelConfig
    facts: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path, name: str = "") -> "ModelFolder":
        """Read the config files; CheckpointError names the file and field that is missing or does not fit."""
        facts = read_json(path / FACTS)
        return cls(name or str(path), path, _config_of(path, facts), facts)

    @property
    def card(self) -> ModelCard:
        """What to tell people about the model."""
        return ModelCard.of(self.facts.get("card", {}))


def model_digest(folder: ModelFolder) -> str:
    """SHA-256, in hex, of a model's weights and tokenizer, and of its facts without UNHASHED_FACTS.

    Digests that ``sources.json`` recorded when the files were written are not computed again.
    """
    path, facts = folder.path, folder.facts
    known = read_json(path / SOURCES).get("written", {}) if (path / SOURCES).is_file() else {}
    digest = hashlib.sha256()
    hashed = {key: facts[key] for key in sorted(facts) if key not in UNHASHED_FACTS}
    digest.update(json.dumps(hashed).encode())
    weights = [file for part in (*PARTS, CONTEXT_TRANSFORMER) for file in path.glob(f"{part}/*.safetensors")]
    for file in [*sorted(weights), path / "tokenizer/tokenizer.json"]:
        name = file.relative_to(path).as_posix()
        digest.update(bytes.fromhex(known.get(name) or sha256_of(file)))
    return digest.hexdigest()


def verify_digests(folder: Path) -> None:
    """Compare the weights of an assembled model with the digests that were recorded when they were written.

    Raises:
        CheckpointError: names the first file that differs or is gone.
    """
    for name, expected in read_json(folder / SOURCES).get("written", {}).items():
        found = sha256_of(folder / name) if (folder / name).is_file() else "nothing"
        if found != expected:
            raise CheckpointError(
                f"{folder / name} is not what was written: its digest is {found[:12]}, but {expected[:12]} "
                f"is expected. Delete {folder} and fetch the model again."
            )


def write_facts(folder: Path, config: ModelConfig, card: ModelCard) -> None:
    """Write the config files that follow from a ModelConfig: not those of VAE, text encoder, tokenizer."""
    facts = {"format": FORMAT, "prediction": config.transformer.prediction}
    own = _field_names(ModelConfig, but=(*_ELSEWHERE, *LATER_FACTS))
    facts |= {name: getattr(config, name) for name in own} | config.later_facts
    shape = {
        name: getattr(config.transformer, name)
        for name in _field_names(TransformerConfig, but=("prediction",))
    }
    scheduler = {"num_train_timesteps": 1000, "shift": config.shift}
    write_json(folder / FACTS, facts | {"card": dataclasses.asdict(card)})
    transformers = ["transformer", CONTEXT_TRANSFORMER][: 1 + config.context_transformer]
    index = {"_class_name": "LongLive"} | PARTS | {part: PARTS["transformer"] for part in transformers}
    write_json(folder / "model_index.json", index)
    for part in transformers:
        write_json(folder / part / "config.json", {"_class_name": PARTS["transformer"][1]} | shape)
    write_json(folder / "scheduler/scheduler_config.json", {"_class_name": PARTS["scheduler"][1]} | scheduler)


def public_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """A diffusers config without its private fields, such as the folder that it was read from."""
    return {key: value for key, value in values.items() if not key.startswith("_")}


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds; CheckpointError when it is missing, unreadable or no object."""
    try:
        values = json.loads(read_text(path))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} is missing. Give a folder in our layout, or fetch the model again."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} cannot be read: {reason_of(error)}. Correct it, or fetch the model again."
        ) from error
    if not isinstance(values, dict):
        raise CheckpointError(
            f"{path} holds a {type(values).__name__}, but it must hold an object of named fields."
        )
    return values


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write an object for people to read; its folder is made if it does not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        part.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _config_of(folder: Path, facts: Mapping[str, Any]) -> ModelConfig:
    path = folder / FACTS
    vae = _WAN_VAE | read_json(folder / "vae/config.json")
    if facts.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: format is {facts.get('format')!r}, but this version reads format {FORMAT}. "
            "Fetch the model again, or use the version of LongLive that wrote it."
        )
    prediction = facts.get("prediction", "velocity")
    transformer = _transformer_config(folder / "transformer/config.json", prediction)
    own = {key: value for key, value in facts.items() if key not in _EXTRA_FACTS}
    scales = {"spatial_scale": vae["scale_factor_spatial"], "temporal_scale": vae["scale_factor_temporal"]}
    _check_fields(ModelConfig, own, path, but=_ELSEWHERE)
    if vae["z_dim"] != transformer.in_channels:
        raise CheckpointError(
            f"{folder}: in_channels of the transformer is {transformer.in_channels}, but the VAE's latents "
            f"have {vae['z_dim']} channels. Use the parts of one model."
        )
    return _construct(ModelConfig, {"transformer": transformer} | own | scales, path)


def _transformer_config(path: Path, prediction: str) -> TransformerConfig:
    values = public_fields(read_json(path))
    for name, expected in _FIXED.items():
        found = values.pop(name, expected)
        if found != expected:
            raise CheckpointError(
                f"{path}: {name} is {found!r}, but it must be {expected!r}. Use a Wan 2.1 checkpoint."
            )
    _check_fields(TransformerConfig, values, path, but=("prediction",))
    return _construct(TransformerConfig, values | {"prediction": prediction}, path)


def _check_fields(cls: type, values: Mapping[str, Any], path: Path, *, but: Iterable[str]) -> None:
    known = [field for field in dataclasses.fields(cls) if field.name not in but]
    missing = [field.name for field in known if field.default is MISSING and field.name not in values]
    unknown = sorted(set(values) - {field.name for field in known})
    for fault, names in (("lacks the fields", missing), ("has the unknown fields", unknown)):
        if names:
            raise CheckpointError(
                f"{path} {fault} {', '.join(names)}. Correct the file, or fetch the model again."
            )


def _construct(cls: type, values: Mapping[str, Any], path: Path) -> Any:
    try:
        return cls(
            **{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        )
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except TypeError as error:
        raise CheckpointError(
            f"{path}: a field has a value of the wrong type ({error}). Correct it."
        ) from error


def _field_names(cls: type, *, but: Iterable[str]) -> list[str]:
    return [field.name for field in dataclasses.fields(cls) if field.name not in but]
