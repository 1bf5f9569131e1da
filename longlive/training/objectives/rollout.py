"""The training-time stream: chunks through denoise.py, with gradients at one exit step."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from longlive.config import StreamConfig
from longlive.generation.flow_matching import FlowSchedule, add_noise
from longlive.generation.sampling import denoise_chunk, recache, remember_chunk
from longlive.models.attention import PromptMemory
from longlive.models.list_cache import ListCache
from longlive.models.transformer import CausalWanTransformer
from longlive.training.objectives.options import ReleasedQuirks
from longlive.training.objectives.released_cache import ReleasedCache

Noise = Callable[[int, int], Tensor]
"""(first latent of a chunk, step) -> standard normals (B, chunk, C, H, W), as for ``denoise_chunk``.

Asked for the step after the last only with ``ReleasedQuirks.noises_context``, for what is remembered.
"""


class Rollout:
    """A batch of streams under training: their memory, their last latents and their position.

    What is remembered carries no gradients, so each chunk's gradients end in its own exit pass, and memory
    stays flat however long a sequence is.
    """

    def __init__(
        self,
        transformer: CausalWanTransformer,
        timetable: FlowSchedule,
        stream: StreamConfig,
        tokens_per_latent: int,
        *,
        clip: int = 21,
        defects: ReleasedQuirks | None = None,
    ) -> None:
        """A stream at its beginning; ``clip`` is what a released recache writes back, in latents."""
        self.transformer, self.timetable, self.stream = transformer, timetable, stream
        self.defects = defects or ReleasedQuirks()
        self._clip = clip
        self._cache = self._new_cache(tokens_per_latent)
        self._position = 0
        self._recent: Tensor | None = None
        self._has_read = False

    @property
    def position(self) -> int:
        """Latents made so far; also the number of the next one."""
        return self._position

    def extend(
        self, num_latents: int, text: Tensor, noise: Noise, *, exit_step: int, with_grad: bool = False
    ) -> Tensor:
        """The next latents (B, num_latents, C, H, W); they are remembered.

        Args:
            num_latents: a whole number of chunks.
            text: (B or 1, text_len, text_dim), the prompt's tokens.
            noise: see ``Noise``.
            exit_step: index of the step whose clean latents are taken, the same for all chunks.
            with_grad: let gradients flow through that step.

        Raises:
            ValueError: if there is no such step, or the latents make no whole chunks.
        """
        if not 0 <= exit_step < len(self.timetable.steps):
            raise ValueError(f"exit step {exit_step} is none of the {len(self.timetable.steps)} steps")
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
        """Make the memory of the last latents anew under another prompt (KV-recache).

        Args:
            text: (B or 1, text_len, text_dim), the new prompt's tokens.
        """
        self._has_read = False
        if self._recent is None:
            return
        prompt = self.transformer.read_prompt(text)
        if isinstance(self._cache, ReleasedCache) and self.defects.zeroes_sink and not self._keeps_sink:
            self._recache_as_released(self._cache, self._recent, prompt)
        else:
            recache(self.transformer, self._recent, prompt, self._cache, start=self._position)

    def remembered(self, layer: int) -> dict[int, tuple[Tensor, Tensor]]:
        """A layer's keys and values of each latent that the next chunk will see."""
        return self._cache.contents(layer)

    def detach(self) -> None:
        """Detach what is remembered; it carries gradients only with ``ReleasedQuirks.leaks_gradients``."""
        layers = [self._cache.contents(layer) for layer in range(self.transformer.config.num_layers)]
        detached = [{f: (k.detach(), v.detach()) for f, (k, v) in layer.items()} for layer in layers]
        self._cache.restore(self._cache.placed, detached)

    def state(self) -> dict[str, Any]:
        """All that is needed to go on in another process: tensors, and lists and dictionaries of them."""
        return {
            "position": self._position,
            "recent": self._recent,
            "first_placed": self._cache.placed.start,
            "layers": [self._cache.contents(layer) for layer in range(self.transformer.config.num_layers)],
            "has_read": self._has_read,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where ``state()`` was taken."""
        self._position, self._recent = state["position"], state["recent"]
        self._has_read = state["has_read"]
        placed = range(state["first_placed"], self._position)
        self._cache.restore(placed, state["layers"])

    def _next_chunk(self, prompt: PromptMemory, noise: Noise, exit_step: int, with_grad: bool) -> Tensor:
        start = self._position
        clean = denoise_chunk(
            self.transformer,
            partial(noise, start),
            prompt,
            self._cache,
            self.timetable,
            start=start,
            exit_step=exit_step,
            with_grad=with_grad,
        )
        context = clean.detach()
        if self.defects.noises_context:
            sigma = self.timetable.sigma_of(self.stream.context_noise)
            context = add_noise(context, noise(start, len(self.timetable.steps)), sigma)
        remember_chunk(self.transformer, context, prompt, self._cache, start=start)
        self._position += clean.shape[1]
        self._recent = self._with_recent(clean.detach())
        return clean

    def _with_recent(self, made: Tensor) -> Tensor:
        recent = made if self._recent is None else torch.cat((self._recent, made), 1)
        return recent if self.stream.window == -1 else recent[:, -max(self.stream.window, self._clip) :]

    def _read(self, text: Tensor, exit_step: int, with_grad: bool) -> PromptMemory:
        carries = with_grad
        if self.defects.text_gradients_by_checkpointing and not self.transformer.checkpointing:
            carries = with_grad and exit_step == 0 and not self._has_read
        self._has_read = True
        with torch.set_grad_enabled(carries):
            return self.transformer.read_prompt(text)

    def _recache_as_released(self, cache: ReleasedCache, recent: Tensor, prompt: PromptMemory) -> None:
        """Empty the memory and write the last clip back; nothing is written below it, nor into the sink."""
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
        return self.stream.global_sink and not self.defects.ignores_global_sink

    def _new_cache(self, tokens_per_latent: int) -> ListCache:
        stream = replace(self.stream, global_sink=self._keeps_sink)
        config, defects = self.transformer.config, self.defects
        if not (defects.leaks_gradients or defects.zeroes_sink):
            return ListCache(config, stream, tokens_per_latent)
        return ReleasedCache(
            config, stream, tokens_per_latent, clip=self._clip, leaks_gradients=defects.leaks_gradients
        )
