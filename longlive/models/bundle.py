"""A loaded model."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from longlive.config import ModelConfig
from longlive.models.decoder import Vae
from longlive.models.model_card import ModelCard
from longlive.models.text_encoder import TextEncoder
from longlive.models.transformer import CausalWanTransformer


@dataclass(frozen=True)
class ModelBundle:
    """A loaded model: shared by all sessions, and never changed.

    Attributes:
        source: the name that it was loaded by.
        config: its facts.
        transformer, text_encoder, vae: its weights, in ``eval`` mode, without gradients.
        decoder, decoder_name: what makes a session's pictures: ``vae``, or another that fits its latents.
        card: what to tell people about it.
        digest: SHA-256 of its weights, tokenizer and facts, in hex.
        folder: where it lies.
        quantization: of the transformer's products; see quantization.py.
        cache_dtype: what streams keep their keys and values in; None for ``dtype``.
        streams: at most so many at once; there is memory for them.
        encoder: makes H.264 of their pictures; see encoders.py.
        smaller: makes this bundle into one of the same weights that takes less memory; None if there is none.
    """

    source: str
    config: ModelConfig
    transformer: CausalWanTransformer
    text_encoder: TextEncoder
    vae: AutoencoderKLWan
    decoder: Vae
    decoder_name: str
    card: ModelCard
    digest: str
    folder: Path
    quantization: str = "off"
    cache_dtype: torch.dtype | None = None
    streams: int = 4
    encoder: str = "x264"
    smaller: "Callable[[ModelBundle], ModelBundle] | None" = None

    @property
    def device(self) -> torch.device:
        """Where the transformer lies."""
        return next(self.transformer.parameters()).device

    @property
    def cache(self) -> str:
        """How streams keep their keys and values: ``full``, or in 8 bits, ``fp8``."""
        return "full" if self.cache_dtype is None else "fp8"

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the transformer computes in."""
        return next(self.transformer.parameters()).dtype
