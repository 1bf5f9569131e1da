"""Bytes that a model's parts take on a device, counted from its files and facts before anything is loaded."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from longlive.config import ModelConfig
from longlive.models.decoder import StreamingDecoder, Vae
from longlive.models.tiny_vae import TinyVae
from longlive.weights.formats.weight_files import open_safetensors
from longlive.weights.layout import CONTEXT_TRANSFORMER, DECODERS, TEXT_WEIGHTS, WEIGHTS
from longlive.weights.loading import describe_decoder

_TEXT_BLOCK = re.compile(r"encoder\.block\.0\.")
# Feature maps of full picture size that are alive at once while a latent is decoded.
_LARGEST_AT_ONCE = 3


@dataclass(frozen=True)
class ModelFootprint:
    """Bytes of a model's parts on a device.

    Attributes:
        blocks, rest: weights of the transformer (of both, if it has a second) that can be quantized, and the
            others; ``rest`` includes the VAE if it encodes again where rollouts overlap.
        text, text_block: weights of the text encoder, and of one of its blocks.
        decoders: weights of each decoder that the model has, by its name.
        decoder_work, decoder_state: feature maps of each while it decodes, and what it keeps of a stream.
        cache: keys and values of one stream, those of the prompt included.
        work: activations of the largest pass, which is a prompt switch.
        itemsize: bytes of a number of the transformer.
    """

    blocks: int
    rest: int
    text: int
    text_block: int
    decoders: dict[str, int]
    decoder_work: dict[str, int]
    decoder_state: dict[str, int]
    cache: int
    work: int
    itemsize: int


def footprint_of(folder: Path, config: ModelConfig, dtype: torch.dtype) -> ModelFootprint:
    """What the model in ``folder`` takes when it computes in ``dtype``, at the largest of its sizes.

    Raises:
        CheckpointError: names the file that is missing or broken.
    """
    config = max(map(config.at, config.all_sizes), key=lambda one: one.width * one.height)
    blocks, rest = _transformer_parameters(folder, "transformer")
    if config.context_transformer:
        more_blocks, more_rest = _transformer_parameters(folder, CONTEXT_TRANSFORMER)
        blocks, rest = blocks + more_blocks, rest + more_rest
    text = open_safetensors(folder / "text_encoder" / TEXT_WEIGHTS)
    in_block = sum(weight.numel() for name, weight in text.items() if _TEXT_BLOCK.match(name))
    text_size = min(next(iter(text.values())).itemsize, dtype.itemsize)
    decoders = {name: part for name, part in DECODERS.items() if (folder / part).is_dir()}
    vaes = {name: describe_decoder(folder / part, is_tiny=name == "tiny") for name, part in decoders.items()}
    if config.overlap:
        rest += _num_parameters(vaes["wan"])
    return ModelFootprint(
        blocks=blocks * dtype.itemsize,
        rest=rest * dtype.itemsize,
        text=sum(weight.numel() for weight in text.values()) * text_size,
        text_block=in_block * text_size,
        decoders={name: _num_parameters(vae) * dtype.itemsize for name, vae in vaes.items()},
        decoder_work={name: _decoder_work_bytes(vae, config, dtype) for name, vae in vaes.items()},
        decoder_state={name: _decoder_state_bytes(vae, config, dtype) for name, vae in vaes.items()},
        cache=cache_bytes(config, dtype.itemsize),
        work=work_bytes(config, dtype.itemsize),
        itemsize=dtype.itemsize,
    )


def _transformer_parameters(folder: Path, part: str) -> tuple[int, int]:
    """How many numbers of a transformer can be quantized, and the others."""
    weights = open_safetensors(folder / part / WEIGHTS)
    blocks = sum(weight.numel() for name, weight in weights.items() if _is_product(name, weight))
    return blocks, sum(weight.numel() for weight in weights.values()) - blocks


def cache_bytes(config: ModelConfig, itemsize: int) -> int:
    """Keys and values of one stream: of its window, and of a prompt, by each set of weights."""
    shape = config.transformer
    rows = config.window * config.tokens_per_latent + (1 + config.context_transformer) * config.text_len
    return 2 * shape.num_layers * rows * shape.dim * itemsize


def work_bytes(config: ModelConfig, itemsize: int) -> int:
    """Activations of the pass over a whole window where they are largest: in the feed-forward network."""
    shape = config.transformer
    return config.window * config.tokens_per_latent * (8 * shape.dim + 2 * shape.ffn_dim) * itemsize


def _decoder_state_bytes(vae: Vae, config: ModelConfig, dtype: torch.dtype) -> int:
    """What a decoder on the meta device keeps of one stream."""
    stream = StreamingDecoder(vae, config.fps)
    latents = torch.empty(1, 2, *config.latent_shape, device="meta")
    stream.decode_latents(latents)
    return sum(part.numel() for part in stream.features) * dtype.itemsize


def _decoder_work_bytes(vae: Vae, config: ModelConfig, dtype: torch.dtype) -> int:
    width = vae.config["widths"][-1] if isinstance(vae, TinyVae) else vae.config["base_dim"]
    picture = width * config.height * config.width * dtype.itemsize
    return _LARGEST_AT_ONCE * config.temporal_scale * picture


def _is_product(name: str, weight: Tensor) -> bool:
    """Whether a weight is a matrix of the blocks, which quantization rounds."""
    return name.startswith("blocks.") and weight.ndim == 2


def _num_parameters(vae: Vae) -> int:
    return sum(weight.numel() for weight in vae.parameters())
