"""Published weights -> files in our layout, one tensor in memory at a time.

What is read, is memory-mapped; names and shapes are checked against the model before anything is written.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor, nn
from transformers import UMT5Config, UMT5EncoderModel

from longlive.config import TransformerConfig
from longlive.errors import CheckpointError
from longlive.models.tiny_vae import TinyVae
from longlive.models.transformer import CausalWanTransformer
from longlive.weights.key_mapping import check_names, check_shapes, transformer_from_any, umt5_from_released
from longlive.weights.lora import lora_pairs, merged
from longlive.weights.weight_files import open_weights, write_weights

# Under which key the weights lie in a checkpoint, the first that is there; a file may be nested several deep.
GENERATOR_KEYS = ("generator", "generator_ema", "model", "state_dict", "module")
LORA_KEYS = ("generator_lora", "lora", "state_dict")
TIED = "encoder.embed_tokens.weight"


def write_transformer(
    path: Path,
    config: TransformerConfig,
    weights: Path,
    lora: Path | None = None,
    *,
    lora_scale: float = 1.0,
    dtype: torch.dtype = torch.bfloat16,
) -> str:
    """Write a transformer in our names, a LoRA merged into it in float32 and rounded once.

    Args:
        path: the safetensors file to be written.
        config: its shape.
        weights: of LongLive, Self-Forcing, CausVid or Wan 2.1, nested and prefixed as they are.
        lora: peft's, around the same names.
        lora_scale: alpha / rank; 1 for LongLive's.
        dtype: of what is written; LongLive itself runs in bfloat16.

    Returns:
        SHA-256 of the file, in hex.

    Raises:
        CheckpointError: names the keys or shapes that do not fit.
    """
    state = transformer_from_any(tensors_of(weights, GENERATOR_KEYS))
    with torch.device("meta"):
        expected = _checked(state, CausalWanTransformer(config), weights)
    pairs = lora_pairs(state, tensors_of(lora, LORA_KEYS)) if lora else {}

    def make(name: str) -> Tensor:
        return merged(state[name], pairs[name], lora_scale) if name in pairs else state[name]

    return write_weights(path, expected, dtype, make)


def write_text_encoder(path: Path, config: Mapping[str, Any], weights: Path) -> str:
    """Write umT5's encoder in bfloat16 and transformers' names; returns its SHA-256, errors as above.

    Args:
        path: the safetensors file to be written.
        config: of a ``UMT5EncoderModel``.
        weights: in Wan's own names or in transformers', in one file or in parts with an index.
    """
    state = tensors_of(weights, GENERATOR_KEYS)
    if "token_embedding.weight" in state:
        state = umt5_from_released(state)
    with torch.device("meta"):
        model = UMT5EncoderModel(UMT5Config.from_dict(dict(config)))
    expected = _checked(state, model, weights, tied=TIED)
    return write_weights(path, expected, torch.bfloat16, state.__getitem__)


def write_tiny_vae(path: Path, weights: Path) -> dict[str, Any]:
    """Write TAEHV's decoder, without its encoder, in float32; returns its config, errors as above."""
    state = tensors_of(weights, GENERATOR_KEYS)
    decoder = {name: tensor for name, tensor in state.items() if name.startswith("decoder.")}
    with torch.device("meta"):
        model = TinyVae()
    write_weights(path, _checked(decoder, model, weights), torch.float32, decoder.__getitem__)
    return {"_class_name": "TinyVae"} | model.config


def write_light_vae(path: Path, weights: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Write LightVAE, the Wan VAE with fewer channels, in float32; returns its config, errors as above.

    Args:
        path: the safetensors file to be written.
        weights: in Wan's own names or in diffusers'.
        config: of the full VAE; only the channels differ, and are read off the weights.
    """
    state = tensors_of(weights, GENERATOR_KEYS)
    if "decoder.conv1.weight" in state:
        state = convert_wan_vae_to_diffusers(dict(state))
    first = state.get("encoder.conv_in.weight")
    if first is None:
        raise CheckpointError(f"{weights} is no Wan VAE: it lacks encoder.conv_in. Fetch it again.")
    own = dict(config) | {"base_dim": first.shape[0]}
    with torch.device("meta"):
        model = AutoencoderKLWan.from_config(own)
    write_weights(path, _checked(state, model, weights), torch.float32, state.__getitem__)
    return own


def tensors_of(file: Path, keys: tuple[str, ...]) -> dict[str, Tensor]:
    """The tensors of a checkpoint, memory-mapped, out of whatever it is nested in.

    Raises:
        CheckpointError: when it cannot be read, or has neither tensors nor one of ``keys``.
    """
    found = open_weights(file)
    while not any(isinstance(value, Tensor) for value in found.values()):
        key = next((key for key in keys if isinstance(found.get(key), Mapping)), None)
        if key is None:
            raise CheckpointError(
                f"{file} holds {', '.join(map(repr, list(found)[:5])) or 'nothing'}, but weights, or one of "
                f"{', '.join(keys)}, are expected. Is it a checkpoint of this family?"
            )
        found = found[key]
    return {name: tensor for name, tensor in found.items() if isinstance(tensor, Tensor)}


def _checked(state: Mapping[str, Tensor], model: nn.Module, file: Path, tied: str = "") -> dict[str, Tensor]:
    """The tensors of ``model`` but the ``tied`` one, once ``state`` has been found to fit them."""
    expected = {name: tensor for name, tensor in model.state_dict().items() if name != tied}
    state = {name: tensor for name, tensor in state.items() if name != tied}
    check_names(state, expected, str(file))
    check_shapes(state, expected, str(file))
    return expected
