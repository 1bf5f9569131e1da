"""Folder -> ModelBundle: reads the weights of a model in our layout, and names what does not fit."""

import copy
import dataclasses
import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import nn
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from longlive.config import TextPlacement
from longlive.errors import CheckpointError, ConfigError
from longlive.models.bundle import ModelBundle
from longlive.models.decoder import Vae, optimize_decoder
from longlive.models.text_encoder import TextEncoder
from longlive.models.tiny_vae import TinyVae
from longlive.models.transformer import CausalWanTransformer
from longlive.weights.formats.key_mapping import check_names, check_shapes
from longlive.weights.formats.lora import describe_lora, merge_pair
from longlive.weights.formats.lora_files import LoraFile
from longlive.weights.formats.lora_reading import lora_files, open_lora
from longlive.weights.formats.weight_files import check_finite, open_safetensors, sha256_of
from longlive.weights.layout import (
    CONTEXT_TRANSFORMER,
    DECODERS,
    TEXT_WEIGHTS,
    WEIGHTS,
    ModelFolder,
    model_digest,
    public_fields,
    read_json,
)
from longlive.weights.registry import resolve

logger = logging.getLogger(__name__)


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
    return load(resolve(name), device=device, dtype=dtype, decoder=decoder, text=text)


def load(
    folder: ModelFolder,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    decoder: str = "wan",
    decoder_dtype: torch.dtype | None = None,
    text: TextPlacement = "resident",
) -> ModelBundle:
    """Load the weights of a resolved model; arguments and errors as for ``load_models``.

    ``decoder_dtype`` is what the decoder computes in; None for ``dtype``. Latents do not depend on it, unless
    the model's rollouts overlap.
    """
    path = folder.path
    transformers, vae = load_transformers(folder), _load_vae(path / "vae")
    # Rollouts that overlap are encoded again as the video goes on.
    nn.Module.to(vae, device=device if folder.config.overlap else "cpu", dtype=dtype)
    decoder_dtype = decoder_dtype or dtype
    if decoder == "wan":
        chosen = _placed(vae if decoder_dtype is dtype else copy.deepcopy(vae), device, decoder_dtype)
    else:
        chosen = load_decoder(path, decoder, device, decoder_dtype)
    for transformer in transformers:
        nn.Module.to(transformer, device=device, dtype=dtype)
    text_encoder = _load_text_encoder(folder)
    # Published umT5 weights are bfloat16: more would double 5.7 billion of them and gain nothing.
    stored = next(text_encoder.model.parameters()).dtype
    text_encoder.model.to(dtype=stored if stored is torch.bfloat16 else dtype)
    text_encoder.place(torch.device(device), text)
    return ModelBundle(
        source=folder.name,
        config=folder.config,
        transformer=transformers[0],
        context_transformer=transformers[1] if folder.config.context_transformer else None,
        text_encoder=text_encoder,
        vae=vae,
        decoder=chosen,
        decoder_name=decoder,
        card=folder.card,
        digest=model_digest(folder),
        folder=path,
    )


@torch.no_grad()
def merge_loras(models: ModelBundle, loras: Sequence[LoraFile]) -> ModelBundle:
    """Merge LoRAs into the transformer of a model that was loaded just now, in its own memory.

    They are computed in float32 and rounded to the model's dtype once. Of a model with a second set of
    weights, only the first is changed, as by ``fetch``.

    Args:
        models: not optimized yet; changed in place.
        loras: added in order.

    Returns:
        the bundle with a digest of its own, so that session files do not pass for those of the model alone.

    Raises:
        CheckpointError: naming what cannot be read or does not fit; nothing is changed then.
    """
    if not loras:
        return models
    state = models.transformer.state_dict()
    opened = [(file, open_lora(file, state)) for file in loras]
    digest = hashlib.sha256(models.digest.encode())
    for file, lora in opened:
        logger.info(describe_lora(lora, file.scale, name=str(file)))
        files = [sha256_of(part) for part in lora_files(file.path)]
        digest.update(json.dumps([files, file.scale, file.strength]).encode())
    for name in dict.fromkeys(name for _, lora in opened for name in lora):
        merged = state[name]
        for file, lora in opened:
            if name in lora:
                merged = merge_pair(merged, lora[name], file.scale, file.strength)
        state[name].copy_(merged)
    return dataclasses.replace(models, digest=digest.hexdigest())


def load_transformer(folder: ModelFolder, part: str = "transformer") -> CausalWanTransformer:
    """The transformer in ``part``, on the CPU, in the dtype of its file; errors as for ``load_models``."""
    with torch.device("meta"):
        transformer = CausalWanTransformer(folder.config.transformer)
    return _fill(transformer, folder.path / part / WEIGHTS)


def load_transformers(folder: ModelFolder) -> list[CausalWanTransformer]:
    """The transformer, and the one that runs the clean passes if the model has a second; as above."""
    second = [CONTEXT_TRANSFORMER] * folder.config.context_transformer
    return [load_transformer(folder, part) for part in ("transformer", *second)]


def describe_decoder(folder: Path, *, is_tiny: bool = False) -> Vae:
    """The decoder whose config lies in ``folder``, on the meta device; CheckpointError if it is none."""
    path = folder / "config.json"
    values = read_json(path)
    try:
        with torch.device("meta"):
            return TinyVae(**public_fields(values)) if is_tiny else AutoencoderKLWan.from_config(values)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        kind = "tiny VAE" if is_tiny else "Wan VAE"
        raise CheckpointError(f"{path} does not describe a {kind}: {error}. Fetch it again.") from error


def load_decoder(folder: Path, name: str, device: str | torch.device, dtype: torch.dtype) -> Vae:
    """A decoder of the model in ``folder``, ready to stream; errors as for ``load_models``."""
    return _placed(_load_vae(decoder_folder(folder, name), is_tiny=name == "tiny"), device, dtype)


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


def _placed(vae: Vae, device: str | torch.device, dtype: torch.dtype) -> Vae:
    nn.Module.to(vae, device=device, dtype=dtype)
    optimize_decoder(vae)
    return vae


def _load_vae(folder: Path, *, is_tiny: bool = False) -> Any:
    return _fill(describe_decoder(folder, is_tiny=is_tiny), folder / WEIGHTS)


def _load_text_encoder(folder: ModelFolder) -> TextEncoder:
    # PreTrainedTokenizerFast reads tokenizer.json verbatim; T5Tokenizer rebuilds it without byte fallback.
    path, config = folder.path, folder.config
    encoder_config = UMT5Config.from_dict(read_json(path / "text_encoder/config.json"))
    if encoder_config.d_model != config.transformer.text_dim:
        raise CheckpointError(
            f"{path}: text_dim of the transformer is {config.transformer.text_dim}, but d_model of the "
            f"text encoder is {encoder_config.d_model}. Use the parts of one model."
        )
    with torch.device("meta"):
        model = UMT5EncoderModel(encoder_config)
    # Of the size of a machine's memory, used for a moment per prompt, and never trained: left in its file.
    weights = path / "text_encoder" / TEXT_WEIGHTS
    _fill(model, weights, tied=("encoder.embed_tokens.weight",), is_mapped=True)
    model.set_input_embeddings(model.shared)
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(path / "tokenizer", local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path / 'tokenizer'} holds no readable tokenizer: {error}. Fetch it again."
        ) from error
    return TextEncoder(tokenizer, model, config.text_len)


def _fill(module: Any, path: Path, tied: tuple[str, ...] = (), *, is_mapped: bool = False) -> Any:
    """Give ``module``, made on the meta device, the weights of ``path``; ``tied`` names repeat others.

    They are copied, since a file that is written again would change under a memory-mapped tensor, unless
    ``is_mapped``: then the system reads them when they are used, and may drop them when memory runs short.
    """
    weights, own = open_safetensors(path), module.state_dict()
    check_names([*weights, *tied], own, str(path))
    check_shapes(weights, own, str(path))
    if not is_mapped:
        weights = {name: tensor.clone() for name, tensor in weights.items()}
        for name, tensor in weights.items():
            check_finite(tensor, f"{path}, {name}")
    module.load_state_dict(weights, strict=False, assign=True)
    return module.eval().requires_grad_(False)
