"""The latents of one stream and the KV cache that they leave, chunk by chunk."""

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from longlive.config import StreamConfig
from longlive.generation.flow_matching import FlowSchedule
from longlive.generation.sampling import denoise_chunk, recache, remember_chunk
from longlive.models.attention import PromptKV
from longlive.models.bundle import ModelBundle
from longlive.models.kv_cache import KVCache
from longlive.models.transformer import CausalWanTransformer

MAX_REWIND_CHUNKS = 12
"""So many chunks can be dropped again, at most."""
DECODER_REACH = 40
"""So many latents before a place are kept, at least: no decoder needs more (``StreamingDecoder.reach``)."""


class LatentStream:
    """A KV cache, the latents that a recache may need, and the position of the next chunk.

    For each chunk: ``switch`` if a new prompt takes effect; then ``denoise`` and ``remember``, or ``skip``;
    then ``append``. A call that fails may be made again.

    Attributes:
        cache: keys and values of what was remembered.
        prompt: keys and values of the prompt in use; None before the first ``switch``.
        recent: latents of the last chunks since the last cut, (1, F, C, H, W) each: enough for a window and
            for a decoder, also after ``rewind``.
        start: latent frames since the start of the video or the last hard cut.
    """

    def __init__(self, models: ModelBundle, stream: StreamConfig) -> None:
        """Reserve the cache; nothing is computed."""
        config = models.config
        self.start = 0
        self.prompt: PromptKV | None = None
        window = stream.chunks_in_window
        kept = None if window is None else max(window, -(-DECODER_REACH // stream.chunk)) + MAX_REWIND_CHUNKS
        self.recent: deque[Tensor] = deque(maxlen=kept)
        self._first_rewind = 0
        self.cache = KVCache(
            config.transformer,
            stream,
            config.tokens_per_latent,
            device=models.device,
            dtype=models.dtype,
            storage=models.runtime.cache_dtype,
        )
        self._stream, self._config = stream, config
        self._transformer: CausalWanTransformer = models.transformer
        self._schedule = FlowSchedule.of(config)

    @torch.no_grad()
    def switch(self, prompt: PromptKV, switch: str | None) -> None:
        """Go on under another prompt; ``switch`` is as in PromptEvent."""
        if switch == "soft":
            self.cache.rewind(self.start)  # a chunk that was begun and interrupted
            window, context_noise = torch.cat(tuple(self.recent), dim=1), self._stream.context_noise
            recache(
                self._transformer, window, prompt, self.cache, start=self.start, context_noise=context_noise
            )
        elif switch == "hard":
            self.cut()
        self.prompt = prompt

    def cut(self) -> None:
        """Forget all latents: the next chunk is the first of a new scene."""
        self.cache.cut()
        self.recent.clear()
        self.start = self._first_rewind = 0

    @torch.no_grad()
    def denoise(self, noise: Callable[[int], Tensor], on_step: Callable[[], None] = lambda: None) -> Tensor:
        """The clean latents (1, F, C, H, W) of the next chunk.

        ``noise`` is as for ``denoise_chunk``; ``on_step`` is called after each step.
        """
        assert self.prompt is not None, "a prompt must come first"
        self._make_positions_last()
        return denoise_chunk(
            self._transformer,
            noise,
            self.prompt,
            self.cache,
            self._schedule,
            start=self.start,
            on_step=lambda step, clean: on_step(),
        )

    def remember(self, clean: Tensor) -> None:
        """Leave the next chunk's clean latents (1, F, C, H, W) in the cache."""
        assert self.prompt is not None, "a prompt must come first"
        self._make_positions_last()
        context_noise = self._stream.context_noise
        remember_chunk(
            self._transformer, clean, self.prompt, self.cache, start=self.start, context_noise=context_noise
        )

    def skip(self) -> None:
        """Count the next chunk without leaving it in the cache; a cut or a recache must follow."""
        self._make_positions_last()
        self.cache.skip(self.start, self._stream.chunk)

    def append(self, clean: Tensor) -> None:
        """Go on behind these latents (1, F, C, H, W), the next chunk's."""
        self.start += clean.shape[1]
        self.recent.append(clean)

    @property
    def num_rewindable(self) -> int:
        """How many of the last chunks ``rewind`` can drop."""
        since = (self.start - self._first_rewind) // self._stream.chunk
        return min(since, MAX_REWIND_CHUNKS, len(self.recent))

    def rewind(self, num_chunks: int) -> None:
        """Drop the last chunks, at most ``num_rewindable``; no prompt may have taken effect in them.

        Unless ``cache.has_gaps`` is False, a soft or hard switch must follow.
        """
        self.start -= num_chunks * self._stream.chunk
        for _ in range(num_chunks):
            self.recent.pop()
        self.cache.rewind(self.start)

    def _make_positions_last(self) -> None:
        """Change to relative positions just before the transformer's table of positions ends."""
        shape = self._config.transformer
        if not self.cache.is_relative and self.start + self._stream.chunk > shape.rope_max_seq_len:
            _, rows, columns = shape.patch_size
            grid = self._config.latent_height // rows, self._config.latent_width // columns
            self.cache.make_relative(self._transformer.rope, *grid)
            self._first_rewind = self.start  # earlier chunks had other positions
