"""Bytes of a model's parts, counted from its files and facts before anything is loaded."""

import re
from pathlib import Path

import torch
from torch import Tensor

from longlive.config import ModelConfig
from longlive.models.decoder import StreamingDecoder, Vae
from longlive.models.tiny_vae import TinyVae
from longlive.runtime.memory import ModelFootprint, cache_bytes, work_bytes
from longlive.weights.layout import DECODERS, TEXT_WEIGHTS, WEIGHTS
from longlive.weights.loading import describe_decoder
from longlive.weights.weight_files import open_safetensors

_TEXT_BLOCK = re.compile(r"encoder\.block\.0\.")
# Feature maps of the pictures' own size that are alive at once while a latent is decoded.
_LARGEST_AT_ONCE = 3


def footprint_of(folder: Path, config: ModelConfig, dtype: torch.dtype) -> ModelFootprint:
    """What the model in ``folder`` takes when it computes in ``dtype``.

    Raises:
        CheckpointError: names the file that is missing or broken.
    """
    transformer = open_safetensors(folder / "transformer" / WEIGHTS)
    blocks = sum(weight.numel() for name, weight in transformer.items() if _is_product(name, weight))
    rest = sum(weight.numel() for weight in transformer.values()) - blocks
    text = open_safetensors(folder / "text_encoder" / TEXT_WEIGHTS)
    in_block = sum(weight.numel() for name, weight in text.items() if _TEXT_BLOCK.match(name))
    text_size = min(next(iter(text.values())).itemsize, dtype.itemsize)
    decoders = {name: part for name, part in DECODERS.items() if (folder / part).is_dir()}
    vaes = {name: describe_decoder(folder / part, is_tiny=name == "tiny") for name, part in decoders.items()}
    return ModelFootprint(
        blocks=blocks * dtype.itemsize,
        rest=rest * dtype.itemsize,
        text=sum(weight.numel() for weight in text.values()) * text_size,
        text_block=in_block * text_size,
        decoders={name: _count(vae) * dtype.itemsize for name, vae in vaes.items()},
        decoder_work={name: _work_bytes(vae, config, dtype) for name, vae in vaes.items()},
        decoder_state={name: state_bytes(vae, config, dtype) for name, vae in vaes.items()},
        cache=cache_bytes(config, dtype.itemsize),
        work=work_bytes(config, dtype.itemsize),
        itemsize=dtype.itemsize,
    )


def state_bytes(vae: Vae, config: ModelConfig, dtype: torch.dtype) -> int:
    """What a decoder on the meta device remembers of one stream."""
    stream = StreamingDecoder(vae, config.fps)
    latents = torch.empty(1, 2, *config.latent_shape, device="meta")
    stream.decode_latents(latents)
    return sum(part.numel() for part in stream.remembered) * dtype.itemsize


def _is_product(name: str, weight: Tensor) -> bool:
    return name.startswith("blocks.") and weight.ndim == 2


def _count(vae: Vae) -> int:
    return sum(weight.numel() for weight in vae.parameters())


def _work_bytes(vae: Vae, config: ModelConfig, dtype: torch.dtype) -> int:
    width = vae.config["widths"][-1] if isinstance(vae, TinyVae) else vae.config["base_dim"]
    picture = width * config.height * config.width * dtype.itemsize
    return _LARGEST_AT_ONCE * config.temporal_scale * picture
