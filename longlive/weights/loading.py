"""Folder <-> ModelBundle: reads and writes a model in diffusers' layout, and names what does not fit.

A model is a folder with ``transformer/``, ``vae/``, ``text_encoder/``, ``tokenizer/`` and ``scheduler/``
(config and safetensors each), and ``longlive.json`` for what diffusers has no field for.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import nn
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from longlive.config import ModelConfig, TransformerConfig
from longlive.errors import CheckpointError, ConfigError
from longlive.models.bundle import ModelBundle
from longlive.models.decoder import Vae, optimize_decoder
from longlive.models.model_card import ModelCard
from longlive.models.text_encoder import TextEncoder, TextPlacement
from longlive.models.tiny_vae import TinyVae
from longlive.models.transformer import CausalWanTransformer
from longlive.weights.key_mapping import check_names, check_shapes
from longlive.weights.layout import (
    DECODERS,
    ELSEWHERE,
    EXTRA_FACTS,
    FACTS,
    FORMAT,
    TEXT_WEIGHTS,
    WEIGHTS,
    digest_of,
    read_json,
)
from longlive.weights.registry import find_model
from longlive.weights.weight_files import open_safetensors

# What a Wan VAE's config may leave out.
WAN_VAE = {"z_dim": 16, "scale_factor_spatial": 8, "scale_factor_temporal": 4}
# What diffusers' WanTransformer3DModel can be told and ours cannot: each has this value, or is left out.
FIXED = {
    "qk_norm": "rms_norm_across_heads",
    "image_dim": None,
    "added_kv_proj_dim": None,
    "pos_embed_seq_len": None,
}


def load_models(
    name: str | Path = "storybook",
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    decoder: str = "wan",
    text: TextPlacement = "resident",
) -> ModelBundle:
    """Load a model by its name, folder or Hub id.

    Args:
        name: for ``longlive-1.3b``, what is missing is fetched and converted first, which takes a while.
        device, dtype: what to compute on and in; a text encoder that is stored in bfloat16 stays so.
        decoder: what makes the pictures: ``wan``, ``tiny`` or ``light``. The Wan VAE is loaded in any case,
            but stays on the CPU where it is not the decoder.
        text: where the text encoder lies; see ``TextEncoder.place``.

    Raises:
        CheckpointError: names the model, file, field or key that is missing, unexpected or broken; and the
            cure.
    """
    folder = find_model(name)
    config, facts = read_config(folder), read_json(folder / FACTS)
    transformer, vae = load_transformer(folder), _load_vae(folder / "vae")
    nn.Module.to(vae, device="cpu", dtype=dtype)
    chosen = _placed(vae, device, dtype) if decoder == "wan" else load_decoder(folder, decoder, device, dtype)
    nn.Module.to(transformer, device=device, dtype=dtype)
    text_encoder = _load_text_encoder(folder, config)
    # Published umT5 weights are bfloat16: more would double 5.7 billion of them and gain nothing.
    stored = next(text_encoder.model.parameters()).dtype
    text_encoder.model.to(dtype=stored if stored is torch.bfloat16 else dtype)
    text_encoder.place(torch.device(device), text)
    card, digest = ModelCard.of(facts.get("card", {})), digest_of(folder, facts)
    return ModelBundle(
        source=str(name),
        config=config,
        transformer=transformer,
        text_encoder=text_encoder,
        vae=vae,
        decoder=chosen,
        decoder_name=decoder,
        card=card,
        digest=digest,
        folder=folder,
    )


def load_transformer(folder: Path) -> CausalWanTransformer:
    """The transformer of a model's folder alone, on the CPU, in the dtype of its file.

    Raises:
        CheckpointError: as ``load_models``.
    """
    with torch.device("meta"):
        transformer = CausalWanTransformer(read_config(folder).transformer)
    return _filled(transformer, folder / "transformer" / WEIGHTS)


def read_config(folder: Path) -> ModelConfig:
    """The facts of a model, from its config files alone; CheckpointError as in ``load_models``."""
    path = folder / FACTS
    facts, vae = read_json(path), WAN_VAE | read_json(folder / "vae/config.json")
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


def _public(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without the notes that diffusers keeps, such as the folder that a config was read from."""
    return {key: value for key, value in values.items() if not key.startswith("_")}


def _read_transformer_config(path: Path, prediction: str) -> TransformerConfig:
    values = _public(read_json(path))
    for name, expected in FIXED.items():
        found = values.pop(name, expected)
        if found != expected:
            raise CheckpointError(
                f"{path}: {name} is {found!r}, but it must be {expected!r}. Use a Wan 2.1 checkpoint."
            )
    _check_fields(TransformerConfig, values, path, but=("prediction",))
    return _built(TransformerConfig, values | {"prediction": prediction}, path)


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


def describe_decoder(folder: Path, *, is_tiny: bool = False) -> Vae:
    """The decoder whose config lies in ``folder``, on the meta device; CheckpointError if it is none."""
    path = folder / "config.json"
    values = read_json(path)
    try:
        with torch.device("meta"):
            return TinyVae(**_public(values)) if is_tiny else AutoencoderKLWan.from_config(values)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        kind = "tiny VAE" if is_tiny else "Wan VAE"
        raise CheckpointError(f"{path} does not describe a {kind}: {error}. Fetch it again.") from error


def load_decoder(folder: Path, name: str, device: str | torch.device, dtype: torch.dtype) -> Vae:
    """A decoder of the model in ``folder``, ready to stream; errors as for ``load_models``."""
    return _placed(_load_vae(decoder_folder(folder, name), is_tiny=name == "tiny"), device, dtype)


def _placed(vae: Vae, device: str | torch.device, dtype: torch.dtype) -> Vae:
    nn.Module.to(vae, device=device, dtype=dtype)
    optimize_decoder(vae)
    return vae


def _load_vae(folder: Path, *, is_tiny: bool = False) -> Any:
    return _filled(describe_decoder(folder, is_tiny=is_tiny), folder / WEIGHTS)


def decoder_folder(folder: Path, name: str) -> Path:
    """Where a decoder of a model lies.

    Raises:
        ConfigError: if there is no decoder of this name.
        CheckpointError: if the model has none.
    """
    if name not in DECODERS:
        raise ConfigError("decoder", name, f"it must be one of {', '.join(DECODERS)}", "Correct it.")
    part = folder / DECODERS[name]
    if not part.is_dir():
        raise CheckpointError(
            f"{folder} has no {name} decoder ({part.name}/). Fetch the model again while the network is "
            "there (python -m longlive fetch …), or use the decoder wan."
        )
    return part


def _load_text_encoder(folder: Path, config: ModelConfig) -> TextEncoder:
    # PreTrainedTokenizerFast reads tokenizer.json verbatim; T5Tokenizer rebuilds it without byte fallback.
    encoder_config = UMT5Config.from_dict(read_json(folder / "text_encoder/config.json"))
    if encoder_config.d_model != config.transformer.text_dim:
        raise CheckpointError(
            f"{folder}: text_dim of the transformer is {config.transformer.text_dim}, but d_model of the "
            f"text encoder is {encoder_config.d_model}. Use the parts of one model."
        )
    with torch.device("meta"):
        model = UMT5EncoderModel(encoder_config)
    _filled(model, folder / "text_encoder" / TEXT_WEIGHTS, tied=("encoder.embed_tokens.weight",))
    model.set_input_embeddings(model.shared)
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer", local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder / 'tokenizer'} holds no readable tokenizer: {error}. Fetch it again."
        ) from error
    return TextEncoder(tokenizer, model, config.text_len)


def _filled(module: Any, path: Path, tied: tuple[str, ...] = ()) -> Any:
    """``module``, made on the meta device, with the weights of ``path``; ``tied`` names repeat others."""
    weights, own = open_safetensors(path), module.state_dict()
    check_names([*weights, *tied], own, str(path))
    check_shapes(weights, own, str(path))
    # Copied, since a file that is written again would change under a memory-mapped tensor.
    module.load_state_dict(
        {name: tensor.clone() for name, tensor in weights.items()}, strict=False, assign=True
    )
    return module.eval().requires_grad_(False)
