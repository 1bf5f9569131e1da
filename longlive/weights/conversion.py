"""Published weights -> files in our layout, one tensor in memory at a time.

What is read is memory-mapped; names and shapes are checked against the model before anything is written.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
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
from longlive.weights.formats.checkpoints import TransformerCheckpoint, read_transformer
from longlive.weights.formats.key_mapping import check_names, check_shapes, umt5_from_released
from longlive.weights.formats.lora import describe_lora, merge_pair
from longlive.weights.formats.lora_files import LoraFile
from longlive.weights.formats.lora_reading import open_lora
from longlive.weights.formats.weight_files import read_tensors, write_weights

logger = logging.getLogger(__name__)

# The dicts that may hold the weights of a text encoder or a VAE; the first that is there, at each level.
WEIGHT_KEYS = ("model", "state_dict", "module")
_DIM_14B = 5120
TIED = "encoder.embed_tokens.weight"


def write_transformer(
    path: Path,
    config: TransformerConfig,
    weights: Path,
    loras: Sequence[LoraFile] = (),
    *,
    has_context: bool = False,
    weights_key: str | None = None,
    dtype: torch.dtype = torch.bfloat16,
    progress: Callable[[str], object] = logger.info,
) -> str:
    """Write a transformer in our names, with LoRAs merged into it in float32, in order, and rounded once.

    Args:
        path: the safetensors file to write.
        config: its shape.
        weights: of LongLive, Self-Forcing, CausVid or Wan 2.1, nested and prefixed as they are.
        loras: their changes are added up.
        has_context: whether the model has a second set of parameters (see ``write_context_transformer``).
        weights_key: which of several transformers in ``weights``; None as for ``read_transformer``.
        dtype: of what is written; LongLive itself runs in bfloat16.
        progress: gets a line that says which of several transformers was taken, and one about each LoRA.

    Returns:
        SHA-256 of the file, in hex.

    Raises:
        CheckpointError: names the keys or shapes that do not fit, or a tensor whose numbers are not finite.
    """
    checkpoint, expected = _open_transformer(config, weights, weights_key, has_context=has_context)
    opened = [(file, open_lora(file, checkpoint.state)) for file in loras]
    if checkpoint.about:
        progress(checkpoint.about)
    for file, lora in opened:
        progress(describe_lora(lora, file.scale, name=str(file)))

    def make(name: str) -> Tensor:
        weight = checkpoint.state[name]
        for file, lora in opened:
            if name in lora:
                weight = merge_pair(weight, lora[name], file.scale, file.strength)
        return weight

    return write_weights(path, expected, dtype, make, weights)


def write_context_transformer(
    path: Path,
    config: TransformerConfig,
    weights: Path,
    *,
    weights_key: str | None = None,
    dtype: torch.dtype = torch.bfloat16,
) -> str:
    """Write the second set of parameters, which SGF+ has for its clean pass, as a transformer of its own.

    Arguments, result and errors as for ``write_transformer``; LoRAs change the first set alone.
    """
    checkpoint, expected = _open_transformer(config, weights, weights_key, has_context=True)
    return write_weights(path, expected, dtype, checkpoint.context.__getitem__, weights)


def check_transformer(
    config: TransformerConfig,
    weights: Path,
    loras: Sequence[LoraFile] = (),
    *,
    has_context: bool = False,
    weights_key: str | None = None,
) -> None:
    """Check what ``write_transformer`` would read, names and shapes included; arguments and errors as there.

    No weights are read but those of LoRAs, so that it takes a moment even for a large file.
    """
    checkpoint, _ = _open_transformer(config, weights, weights_key, has_context=has_context)
    for file in loras:
        open_lora(file, checkpoint.state)


def _open_transformer(
    config: TransformerConfig, weights: Path, weights_key: str | None, *, has_context: bool
) -> tuple[TransformerCheckpoint, dict[str, Tensor]]:
    """A checkpoint that fits ``config``, and the tensors to be written, without data."""
    checkpoint = read_transformer(weights, weights_key)
    _check_size(checkpoint.state, config, weights)
    with torch.device("meta"):
        expected = _check_fit(checkpoint.state, CausalWanTransformer(config), weights)
    if has_context and not checkpoint.context:
        raise CheckpointError(
            f"{weights} holds one set of parameters, but this model has a second one for its clean pass "
            "(memory_… in SGF+'s files). Give an SGF+ checkpoint, or leave context_transformer false."
        )
    if checkpoint.context and not has_context:
        raise CheckpointError(
            f"{weights} holds a second set of parameters for the clean pass (memory_…, as in SGF+): "
            "say so by --set context_transformer=true."
        )
    if has_context:
        check_names(checkpoint.context, expected, f"the second set of parameters in {weights}")
        check_shapes(checkpoint.context, expected, f"the second set of parameters in {weights}")
    return checkpoint, expected


def _check_size(state: Mapping[str, Tensor], config: TransformerConfig, file: Path) -> None:
    """Refuse a transformer of another size by its size, rather than by the first tensor that does not fit."""
    patch = state.get("patch_embedding.weight")
    dim = config.dim if patch is None else patch.shape[0]
    blocks = 1 + max((int(name.split(".")[1]) for name in state if name.startswith("blocks.")), default=-1)
    if dim != config.dim or blocks > config.num_layers:
        size = " (the 14B model)" if dim == _DIM_14B else ""
        raise CheckpointError(
            f"{file} holds {blocks} blocks of width {dim}{size}, but this model has {config.num_layers} of "
            f"width {config.dim}. Give a checkpoint of the same size."
        )


def write_text_encoder(path: Path, config: Mapping[str, Any], weights: Path) -> str:
    """Write umT5's encoder in bfloat16 and transformers' names; returns its SHA-256, errors as above.

    Args:
        path: the safetensors file to write.
        config: of a ``UMT5EncoderModel``.
        weights: in Wan's own names or in transformers', in one file or in parts with an index.
    """
    state = read_tensors(weights, WEIGHT_KEYS)
    if "token_embedding.weight" in state:
        state = umt5_from_released(state)
    with torch.device("meta"):
        model = UMT5EncoderModel(UMT5Config.from_dict(dict(config)))
    expected = _check_fit(state, model, weights, tied=TIED)
    return write_weights(path, expected, torch.bfloat16, state.__getitem__, weights)


def write_tiny_vae(path: Path, weights: Path) -> dict[str, Any]:
    """Write TAEHV's decoder, without its encoder, in float32; returns its config, errors as above."""
    state = read_tensors(weights, WEIGHT_KEYS)
    decoder = {name: tensor for name, tensor in state.items() if name.startswith("decoder.")}
    with torch.device("meta"):
        model = TinyVae()
    write_weights(path, _check_fit(decoder, model, weights), torch.float32, decoder.__getitem__, weights)
    return {"_class_name": "TinyVae"} | model.config


def write_light_vae(path: Path, weights: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Write LightVAE, the Wan VAE with fewer channels, in float32; returns its config, errors as above.

    Args:
        path: the safetensors file to write.
        weights: in Wan's own names or in diffusers'.
        config: of the full VAE; only the channels differ, and are read off the weights.
    """
    state = read_tensors(weights, WEIGHT_KEYS)
    if "decoder.conv1.weight" in state:
        state = convert_wan_vae_to_diffusers(dict(state))
    first = state.get("encoder.conv_in.weight")
    if first is None:
        raise CheckpointError(f"{weights} is no Wan VAE: it lacks encoder.conv_in. Fetch it again.")
    own = dict(config) | {"base_dim": first.shape[0]}
    with torch.device("meta"):
        model = AutoencoderKLWan.from_config(own)
    write_weights(path, _check_fit(state, model, weights), torch.float32, state.__getitem__, weights)
    return own


def _check_fit(
    state: Mapping[str, Tensor], model: nn.Module, file: Path, tied: str = ""
) -> dict[str, Tensor]:
    """Check that ``state`` fits ``model``; returns the tensors of ``model`` but for the ``tied`` one."""
    expected = {name: tensor for name, tensor in model.state_dict().items() if name != tied}
    state = {name: tensor for name, tensor in state.items() if name != tied}
    check_names(state, expected, str(file))
    check_shapes(state, expected, str(file))
    return expected
