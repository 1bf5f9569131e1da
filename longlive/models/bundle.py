"""A loaded model, and how it is run on this machine."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor

from longlive.config import CacheName, EncoderName, ModelConfig, Quantization, Size
from longlive.models.attention import PromptKV
from longlive.models.decoder import Vae
from longlive.models.model_card import ModelCard
from longlive.models.text_encoder import TextEncoder
from longlive.models.transformer import CausalWanTransformer


@dataclass(frozen=True, kw_only=True)
class RuntimeProfile:
    """How a loaded model is run on this machine; chosen at startup, independent of the checkpoint.

    Attributes:
        quantization: rounding of the products of the transformer's blocks; see runtime/quantization.py.
        cache: how streams store their keys and values.
        max_streams: the most streams at once that there is memory for.
        encoder: of H.264.
        downgrade: makes a bundle of the same weights that needs less memory; None if there is none.
    """

    quantization: Quantization = "off"
    cache: CacheName = "full"
    max_streams: int = 4
    encoder: EncoderName = "x264"
    downgrade: "Callable[[ModelBundle], ModelBundle] | None" = None

    @property
    def cache_dtype(self) -> torch.dtype | None:
        """The dtype that keys and values are stored in; None for the one that is computed in."""
        return torch.float8_e4m3fn if self.cache == "fp8" else None


@dataclass(frozen=True)
class PromptKVs:
    """A prompt as both of a model's transformers read it; the same twice where there is one.

    Attributes:
        denoising, context: of the transformer that denoises, and of the one that runs clean passes.
    """

    denoising: PromptKV
    context: PromptKV


@dataclass(frozen=True)
class ModelBundle:
    """A loaded model: shared by all sessions, and never changed.

    Attributes:
        source: the name that it was loaded by.
        config: its facts.
        transformer, text_encoder, vae: its weights, in ``eval`` mode, without gradients.
        context_transformer: a second set of weights, which runs the clean passes; None: the first does (see
            ``context_writer``).
        decoder, decoder_name: what decodes the latents of sessions: ``vae``, or another that fits them.
        card: what to tell people about it.
        digest: SHA-256 of its weights, tokenizer and facts, in hex.
        folder: where its files are.
        runtime: how it is run.
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
    runtime: RuntimeProfile = field(default_factory=RuntimeProfile)
    context_transformer: CausalWanTransformer | None = None

    def at_size(self, size: Size | None) -> "ModelBundle":
        """The same weights, with another of the model's sizes; None: with this one. Errors as for ``at``."""
        config = self.config.at(size)
        return self if config is self.config else replace(self, config=config)

    @property
    def context_writer(self) -> CausalWanTransformer:
        """What leaves finished latents in the cache: clean passes and recaches run through it."""
        return self.context_transformer or self.transformer

    @property
    def transformers(self) -> tuple[CausalWanTransformer, ...]:
        """Each set of weights, once."""
        second = self.context_transformer
        return (self.transformer,) if second is None else (self.transformer, second)

    def read_prompt(self, tokens: Tensor) -> PromptKVs:
        """Keys and values of a prompt's tokens, by each set of weights; as for the transformer's own."""
        prompts = [transformer.read_prompt(tokens) for transformer in self.transformers]
        return PromptKVs(prompts[0], prompts[-1])

    @property
    def device(self) -> torch.device:
        """The transformer's device."""
        return next(self.transformer.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the transformer computes in."""
        return next(self.transformer.parameters()).dtype
