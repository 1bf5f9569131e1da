"""Generation in training: chunks by ``generation.sampling``, with gradients at one exit step."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from longlive.config import StreamConfig
from longlive.generation.flow_matching import FlowSchedule, add_noise
from longlive.generation.sampling import denoise_chunk, recache, remember_chunk
from longlive.models.attention import PromptKV
from longlive.models.list_cache import ListCache
from longlive.models.transformer import CausalWanTransformer
from longlive.training.objectives.quirks import ReleasedQuirks
from longlive.training.objectives.released_cache import ReleasedCache

Noise = Callable[[int, int], Tensor]
"""(first latent of a chunk, step) -> standard normals (B, chunk, C, H, W), as for ``denoise_chunk``.

Called for the step after the last only with ``ReleasedQuirks.noises_context``, to noise the context.
"""


class Rollout:
    """A batch of streams in training: their cache, latest latents and position.

    The cache carries no gradients, so each chunk's gradients stay within its own exit pass, and memory does
    not grow with the length of a sequence.
    """

    def __init__(
        self,
        transformer: CausalWanTransformer,
        schedule: FlowSchedule,
        stream: StreamConfig,
        tokens_per_latent: int,
        *,
        clip: int = 21,
        quirks: ReleasedQuirks | None = None,
    ) -> None:
        """Start a stream; ``clip`` is the number of latents that a released recache writes back."""
        self.transformer, self.schedule, self.stream = transformer, schedule, stream
        self.quirks = quirks or ReleasedQuirks()
        self._clip = clip
        self._cache = self._new_cache(tokens_per_latent)
        self._position = 0
        self._recent: Tensor | None = None
        self._has_read = False

    @property
    def position(self) -> int:
        """Number of latents generated so far, and the index of the next one."""
        return self._position

    def extend(
        self, num_latents: int, text: Tensor, noise: Noise, *, exit_step: int, with_grad: bool = False
    ) -> Tensor:
        """Generate the next latents (B, num_latents, C, H, W) and write them to the cache.

        Args:
            num_latents: a whole number of chunks.
            text: (B or 1, text_len, text_dim), the prompt's tokens.
            noise: see ``Noise``.
            exit_step: index of the step whose clean prediction is returned, the same for all chunks.
            with_grad: enable gradients in that step.

        Raises:
            ValueError: if there is no such step, or the latents are no whole number of chunks.
        """
        if not 0 <= exit_step < len(self.schedule.steps):
            raise ValueError(f"exit step {exit_step} is none of the {len(self.schedule.steps)} steps")
        if num_latents < 1 or num_latents % self.stream.chunk:
            raise ValueError(f"{num_latents} latents are no whole number of chunks of {self.stream.chunk}")
        prompt = self._read(text, exit_step, with_grad)
        made = [
            self._next_chunk(prompt, noise, exit_step, with_grad)
            for _ in range(num_latents // self.stream.chunk)
        ]
        return torch.cat(made, 1)

    @torch.no_grad()
    def switch(self, text: Tensor) -> None:
        """Recompute the cache of the latest latents under another prompt (KV-recache).

        Args:
            text: (B or 1, text_len, text_dim), the new prompt's tokens.
        """
        self._has_read = False
        if self._recent is None:
            return
        prompt = self.transformer.read_prompt(text)
        if isinstance(self._cache, ReleasedCache) and self.quirks.zeroes_sink and not self._keeps_sink:
            self._recache_as_released(self._cache, self._recent, prompt)
        else:
            recache(self.transformer, self._recent, prompt, self._cache, start=self._position)

    def remembered(self, layer: int) -> dict[int, tuple[Tensor, Tensor]]:
        """Keys and values of one layer, for each latent that the next chunk attends to."""
        return self._cache.contents(layer)

    def detach(self) -> None:
        """Detach the cache, which carries gradients only with ``ReleasedQuirks.leaks_gradients``."""
        layers = [self._cache.contents(layer) for layer in range(self.transformer.config.num_layers)]
        detached = [{f: (k.detach(), v.detach()) for f, (k, v) in layer.items()} for layer in layers]
        self._cache.restore(self._cache.placed, detached)

    def state(self) -> dict[str, Any]:
        """State for ``restore``, in another process too: tensors, and lists and dictionaries of them."""
        return {
            "position": self._position,
            "recent": self._recent,
            "first_placed": self._cache.placed.start,
            "layers": [self._cache.contents(layer) for layer in range(self.transformer.config.num_layers)],
            "has_read": self._has_read,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a ``state()``."""
        self._position, self._recent = state["position"], state["recent"]
        self._has_read = state["has_read"]
        placed = range(state["first_placed"], self._position)
        self._cache.restore(placed, state["layers"])

    def _next_chunk(self, prompt: PromptKV, noise: Noise, exit_step: int, with_grad: bool) -> Tensor:
        start = self._position
        clean = denoise_chunk(
            self.transformer,
            partial(noise, start),
            prompt,
            self._cache,
            self.schedule,
            start=start,
            exit_step=exit_step,
            with_grad=with_grad,
        )
        context = clean.detach()
        if self.quirks.noises_context:
            sigma = self.schedule.sigma_of(self.stream.context_noise)
            context = add_noise(context, noise(start, len(self.schedule.steps)), sigma)
        remember_chunk(self.transformer, context, prompt, self._cache, start=start)
        self._position += clean.shape[1]
        self._recent = self._with_recent(clean.detach())
        return clean

    def _with_recent(self, made: Tensor) -> Tensor:
        recent = made if self._recent is None else torch.cat((self._recent, made), 1)
        return recent if self.stream.window == -1 else recent[:, -max(self.stream.window, self._clip) :]

    def _read(self, text: Tensor, exit_step: int, with_grad: bool) -> PromptKV:
        carries = with_grad
        if self.quirks.text_gradients_by_checkpointing and not self.transformer.checkpointing:
            carries = with_grad and exit_step == 0 and not self._has_read
        self._has_read = True
        with torch.set_grad_enabled(carries):
            return self.transformer.read_prompt(text)

    def _recache_as_released(self, cache: ReleasedCache, recent: Tensor, prompt: PromptKV) -> None:
        """Zero the cache and write back only the last clip; earlier latents and the sink stay zero."""
        if self._position <= self._clip:
            cache.reset()
            num_latents = self._position
        else:
            cache.empty()
            beside_sink = self._clip if self.stream.window == -1 else self.stream.window - self.stream.sink
            num_latents = min(self._clip, beside_sink)
        start = self._position - num_latents
        remember_chunk(self.transformer, recent[:, -num_latents:], prompt, cache, start=start)

    @property
    def _keeps_sink(self) -> bool:
        return self.stream.global_sink and not self.quirks.ignores_global_sink

    def _new_cache(self, tokens_per_latent: int) -> ListCache:
        stream = replace(self.stream, global_sink=self._keeps_sink)
        config, quirks = self.transformer.config, self.quirks
        if not (quirks.leaks_gradients or quirks.zeroes_sink):
            return ListCache(config, stream, tokens_per_latent)
        return ReleasedCache(
            config, stream, tokens_per_latent, clip=self._clip, leaks_gradients=quirks.leaks_gradients
        )
