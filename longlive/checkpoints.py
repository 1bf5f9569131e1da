"""Folder <-> ModelBundle: reads and writes a model in diffusers' layout, and names what does not fit.

A model is a folder with ``transformer/``, ``vae/``, ``text_encoder/``, ``tokenizer/`` and ``scheduler/``
(config and safetensors each), and ``longlive.json`` for what diffusers has no field for.
"""

import copy
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from longlive.config import ModelConfig, TransformerConfig
from longlive.decoder import quicken
from longlive.errors import CheckpointError, ConfigError
from longlive.hub import find_model
from longlive.model_card import ModelCard
from longlive.names import check_names
from longlive.text import TextEncoder
from longlive.transformer import CausalWanTransformer

FORMAT = 1
WEIGHTS = "diffusion_pytorch_model.safetensors"
TEXT_WEIGHTS = "model.safetensors"
PARTS = {
    "transformer": ("longlive", "CausalWanTransformer"),
    "vae": ("diffusers", "AutoencoderKLWan"),
    "text_encoder": ("transformers", "UMT5EncoderModel"),
    "tokenizer": ("transformers", "PreTrainedTokenizerFast"),
    "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler"),
}
# Fields of a ModelConfig that come from the other config files, and of longlive.json that are not its own.
ELSEWHERE = ("transformer", "spatial_scale", "temporal_scale")
EXTRA_FACTS = ("format", "prediction", "card")
# What a Wan VAE's config may leave out.
WAN_VAE = {"z_dim": 16, "scale_factor_spatial": 8, "scale_factor_temporal": 4}
# What diffusers' WanTransformer3DModel can be told and ours cannot: each has this value, or is left out.
FIXED = {
    "qk_norm": "rms_norm_across_heads",
    "image_dim": None,
    "added_kv_proj_dim": None,
    "pos_embed_seq_len": None,
}


@dataclass(frozen=True)
class ModelBundle:
    """A loaded model: shared by all sessions, and never changed.

    Attributes:
        source: the name that it was loaded by.
        config: its facts.
        transformer, text_encoder, vae: its weights, in ``eval`` mode, without gradients.
        card: what to tell people about it.
        digest: SHA-256 of its weights, tokenizer and facts, in hex.
        folder: where it lies.
    """

    source: str
    config: ModelConfig
    transformer: CausalWanTransformer
    text_encoder: TextEncoder
    vae: AutoencoderKLWan
    card: ModelCard
    digest: str
    folder: Path

    @property
    def device(self) -> torch.device:
        """Where the transformer lies."""
        return next(self.transformer.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the transformer computes in."""
        return next(self.transformer.parameters()).dtype


def load_models(
    name: str | Path = "storybook",
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> ModelBundle:
    """Load a model by its name, folder or Hub id.

    Raises:
        CheckpointError: names the model, file, field or key that is missing, unexpected or broken; and the
            cure.
    """
    folder = find_model(name)
    config, facts = read_config(folder), _read_json(folder / "longlive.json")
    transformer = load_transformer(folder)
    vae = _load_vae(folder / "vae")
    text_encoder = _load_text_encoder(folder, config)
    for module in (transformer, vae, text_encoder.model):
        nn.Module.to(module.eval().requires_grad_(False), device=device, dtype=dtype)
    if torch.device(device).type == "cpu":
        quicken(vae)
    card, digest = ModelCard.of(facts.get("card", {})), digest_of(folder, facts)
    return ModelBundle(str(name), config, transformer, text_encoder, vae, card, digest, folder)


def load_transformer(folder: Path) -> CausalWanTransformer:
    """The transformer of a model's folder alone; CheckpointError as in ``load_models``."""
    transformer = CausalWanTransformer(read_config(folder).transformer)
    _fill(transformer, folder / "transformer" / WEIGHTS)
    return transformer


def read_config(folder: Path) -> ModelConfig:
    """The facts of a model, from its config files alone; CheckpointError as in ``load_models``."""
    path = folder / "longlive.json"
    facts, vae = _read_json(path), WAN_VAE | _read_json(folder / "vae/config.json")
    if facts.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: format is {facts.get('format')!r}, but this version reads format {FORMAT}. "
            "Fetch the model again, or use the version of LongLive that wrote it."
        )
    prediction = facts.get("prediction", "velocity")
    transformer = _read_transformer_config(folder / "transformer/config.json", prediction)
    own = {key: value for key, value in facts.items() if key not in EXTRA_FACTS}
    scales = {"spatial_scale": vae["scale_factor_spatial"], "temporal_scale": vae["scale_factor_temporal"]}
    _check_fields(ModelConfig, own, path, but=ELSEWHERE)
    if vae["z_dim"] != transformer.in_channels:
        raise CheckpointError(
            f"{folder}: in_channels of the transformer is {transformer.in_channels}, but the VAE's latents "
            f"have {vae['z_dim']} channels. Use the parts of one model."
        )
    return _built(ModelConfig, {"transformer": transformer} | own | scales, path)


def save_models(
    folder: str | Path,
    *,
    config: ModelConfig,
    transformer: nn.Module,
    vae: AutoencoderKLWan,
    text_encoder: UMT5EncoderModel,
    tokenizer: PreTrainedTokenizerFast,
    card: ModelCard | None = None,
) -> None:
    """Write a model's folder, so that ``load_models(folder)`` gives the same model again.

    Args:
        folder: made if it is not there; files in it are overwritten.
        config: its facts, the transformer's shape among them.
        transformer: a module with the parameter names of CausalWanTransformer.
        vae, text_encoder, tokenizer: as their libraries make them; the encoder is a ``UMT5EncoderModel``.
        card: what to tell people about it.
    """
    folder = Path(folder)
    facts = {"format": FORMAT, "prediction": config.transformer.prediction}
    facts |= {name: getattr(config, name) for name in _field_names(ModelConfig, but=ELSEWHERE)}
    shape = {name: getattr(config.transformer, name) for name in _transformer_fields()}
    scheduler = {"num_train_timesteps": 1000, "shift": config.shift}
    _write_json(folder / "longlive.json", facts | {"card": dataclasses.asdict(card or ModelCard())})
    _write_json(folder / "model_index.json", {"_class_name": "LongLive"} | PARTS)
    _write_json(folder / "transformer/config.json", {"_class_name": PARTS["transformer"][1]} | shape)
    _write_json(folder / "vae/config.json", _public(vae.config) | {"_class_name": PARTS["vae"][1]})
    _write_json(folder / "text_encoder/config.json", text_encoder.config.to_dict())
    _write_json(
        folder / "scheduler/scheduler_config.json", {"_class_name": PARTS["scheduler"][1]} | scheduler
    )
    _save_weights(transformer, folder / "transformer" / WEIGHTS)
    _save_weights(vae, folder / "vae" / WEIGHTS)
    _save_weights(text_encoder, folder / "text_encoder" / TEXT_WEIGHTS)
    _unused(tokenizer).save_pretrained(folder / "tokenizer")


def _unused(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """A copy without the padding and the length limit of its last call, which would be written as well."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    return tokenizer


def _public(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without the notes that diffusers keeps, such as the folder that a config was read from."""
    return {key: value for key, value in values.items() if not key.startswith("_")}


def digest_of(folder: Path, facts: dict[str, Any]) -> str:
    """SHA-256, in hex, of a model's weights and tokenizer, and of its facts without the card."""
    digest = hashlib.sha256()
    digest.update(json.dumps({key: facts[key] for key in sorted(facts) if key != "card"}).encode())
    for path in [*sorted(folder.glob("*/*.safetensors")), folder / "tokenizer/tokenizer.json"]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _read_transformer_config(path: Path, prediction: str) -> TransformerConfig:
    values = {key: value for key, value in _read_json(path).items() if not key.startswith("_")}
    for name, expected in FIXED.items():
        found = values.pop(name, expected)
        if found != expected:
            raise CheckpointError(
                f"{path}: {name} is {found!r}, but it must be {expected!r}. Use a Wan 2.1 checkpoint."
            )
    _check_fields(TransformerConfig, values, path, but=("prediction",))
    return _built(TransformerConfig, values | {"prediction": prediction}, path)


def _transformer_fields() -> list[str]:
    return _field_names(TransformerConfig, but=("prediction",))


def _field_names(cls: type, *, but: Iterable[str]) -> list[str]:
    return [field.name for field in dataclasses.fields(cls) if field.name not in but]


def _check_fields(cls: type, values: Mapping[str, Any], path: Path, *, but: Iterable[str]) -> None:
    known = [field for field in dataclasses.fields(cls) if field.name not in but]
    missing = [field.name for field in known if field.default is MISSING and field.name not in values]
    unknown = sorted(set(values) - {field.name for field in known})
    for fault, names in (("lacks the fields", missing), ("has the unknown fields", unknown)):
        if names:
            raise CheckpointError(
                f"{path} {fault} {', '.join(names)}. Correct the file, or fetch the model again."
            )


def _built(cls: type, values: Mapping[str, Any], path: Path) -> Any:
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


def _load_vae(folder: Path) -> AutoencoderKLWan:
    values = _read_json(folder / "config.json")
    try:
        vae = AutoencoderKLWan.from_config(values)
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{folder / 'config.json'} does not describe a Wan VAE: {error}. Fetch it again."
        ) from error
    _fill(vae, folder / WEIGHTS)
    return vae


def _load_text_encoder(folder: Path, config: ModelConfig) -> TextEncoder:
    # PreTrainedTokenizerFast reads tokenizer.json verbatim; T5Tokenizer rebuilds it without byte fallback.
    encoder_config = UMT5Config.from_dict(_read_json(folder / "text_encoder/config.json"))
    if encoder_config.d_model != config.transformer.text_dim:
        raise CheckpointError(
            f"{folder}: text_dim of the transformer is {config.transformer.text_dim}, but d_model of the "
            f"text encoder is {encoder_config.d_model}. Use the parts of one model."
        )
    model = UMT5EncoderModel(encoder_config)
    _fill(model, folder / "text_encoder" / TEXT_WEIGHTS, tied=("encoder.embed_tokens.weight",))
    model.set_input_embeddings(model.shared)
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer", local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder / 'tokenizer'} holds no readable tokenizer: {error}. Fetch it again."
        ) from error
    return TextEncoder(tokenizer, model, config.text_len)


def _fill(module: nn.Module, path: Path, tied: tuple[str, ...] = ()) -> None:
    """Load the weights of ``path`` into ``module``; ``tied`` names repeat others, and may be missing."""
    weights, own = _read_weights(path), module.state_dict()
    check_names([*weights, *tied], own, str(path))
    for name, tensor in weights.items():
        if tensor.shape != own[name].shape:
            raise CheckpointError(
                f"{path}: {name} has shape {tuple(tensor.shape)}, but the config beside it makes it "
                f"{tuple(own[name].shape)}. The file belongs to another model."
            )
    module.load_state_dict(weights, strict=False)


def _read_weights(path: Path) -> dict[str, Tensor]:
    index = path.with_name(path.name + ".index.json")
    parts = sorted(set(_read_json(index)["weight_map"].values())) if index.is_file() else [path.name]
    weights: dict[str, Tensor] = {}
    for part in parts:
        file = path.with_name(part)
        try:
            weights |= load_file(file)
        except FileNotFoundError as error:
            raise CheckpointError(f"{file} is missing. Fetch the model again.") from error
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file} is broken: {error}. Fetch the model again.") from error
    return weights


def _save_weights(module: nn.Module, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seen: set[int] = set()
    weights = {}
    for name, tensor in module.state_dict().items():
        if tensor.data_ptr() not in seen:  # a tied weight is written once
            weights[name] = tensor.detach().cpu().contiguous()
        seen.add(tensor.data_ptr())
    save_file(weights, path, metadata={"format": "pt"})


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} is missing. Give a folder in our layout, or fetch the model again."
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read: {error}. Correct it, or fetch the model again."
        ) from error
    if not isinstance(values, dict):
        raise CheckpointError(
            f"{path} holds a {type(values).__name__}, but it must hold an object of named fields."
        )
    return values


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
