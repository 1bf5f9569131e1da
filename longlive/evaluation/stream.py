"""Several videos generated as one batch, by the sampling code and the cache that sessions use."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from longlive.config import StreamConfig
from longlive.generation.flow_matching import FlowSchedule
from longlive.generation.noise import draw_noise
from longlive.generation.sampling import denoise_chunk, recache, remember_chunk
from longlive.models.bundle import ModelBundle, PromptKVs
from longlive.models.decoder import StreamingDecoder
from longlive.models.kv_cache import KVCache


class BatchStream:
    """A batch of streams that advance together, chunk by chunk."""

    def __init__(
        self, models: ModelBundle, prompts: Sequence[str], seeds: Sequence[int], **stream: Any
    ) -> None:
        """Start one video per prompt.

        Args:
            seeds: of the noise, one per prompt.
            stream: fields of StreamConfig that replace those the model was tuned with.
        """
        config = models.config
        self.models, self.seeds = models, seeds
        self.stream = StreamConfig.of(config, **stream)
        self.cache = KVCache(config.transformer, self.stream, config.tokens_per_latent, batch=len(prompts))
        self.decoder = StreamingDecoder(models.vae, config.fps)
        self.prompt = self._read(prompts)
        self.window = torch.empty(len(prompts), 0, *config.latent_shape)
        self.chunk = self.start = 0

    def next_pictures(self, num_chunks: int) -> Tensor:
        """The pictures of the next chunks: uint8 (B, F, 3, H, W)."""
        return torch.cat([self._next_chunk() for _ in range(num_chunks)], 1)

    def branch(self) -> "BatchStream":
        """A copy that continues independently from here."""
        other = copy.copy(self)
        other.cache, other.decoder = copy.deepcopy(self.cache), self.decoder.branch()
        return other

    def switch(self, prompts: Sequence[str], mode: str) -> None:
        """Continue with other prompts; ``mode`` is one of ``SWITCH_MODES``."""
        self.prompt = self._read(prompts)
        if mode == "soft":
            writer, prompt = self.models.context_writer, self.prompt.context
            recache(writer, self.window, prompt, self.cache, start=self.start)
        elif mode == "hard":
            self.cache.reset()
            self.decoder.reset()
            self.start, self.window = 0, self.window[:, :0]

    def _next_chunk(self) -> Tensor:
        size = self.stream.chunk
        transformer, prompt = self.models.transformer, self.prompt
        schedule = FlowSchedule.of(self.models.config, first=self.start == 0)
        latents = denoise_chunk(
            transformer, self._noise, prompt.denoising, self.cache, schedule, start=self.start
        )
        remember_chunk(self.models.context_writer, latents, prompt.context, self.cache, start=self.start)
        self.window = torch.cat([self.window, latents], 1)[:, -self.stream.window :]
        self.start, self.chunk = self.start + size, self.chunk + 1
        pictures = self.decoder.decode_latents(latents)
        return ((pictures + 1) * 127.5).round().to(torch.uint8)

    def _noise(self, step: int) -> Tensor:
        shape = (self.stream.chunk, *self.models.config.latent_shape)
        return torch.stack(
            [draw_noise(shape, seed=s, take=0, chunk=self.chunk, step=step) for s in self.seeds]
        )

    def _read(self, prompts: Sequence[str]) -> PromptKVs:
        tokens = torch.cat([self.models.text_encoder.encode(prompt).tokens for prompt in prompts])
        return self.models.read_prompt(tokens)
