"""The latents of one stream and the KV cache that they leave, chunk by chunk."""

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from longlive.chunks import AttendedChunks, SwitchMode
from longlive.config import StreamConfig
from longlive.generation.flow_matching import FlowSchedule
from longlive.generation.lookahead import OnStep, ignore_step
from longlive.generation.sampling import denoise_chunk, recache, remember_chunk
from longlive.models.bundle import ModelBundle, PromptKVs
from longlive.models.kv_cache import KVCache

MAX_REWIND_CHUNKS = 12
"""So many chunks can be dropped again, at most."""
DECODER_REACH = 40
"""So many latents before a place are kept, at least: no decoder needs more (``StreamingDecoder.reach``)."""


class LatentStream:
    """A KV cache, the latents that a recache may need, and the position of the next chunk.

    For each chunk: ``remember_last`` for the one before, if that ``needs_clean_pass``; ``switch`` if a new
    prompt takes effect; ``denoise``; ``append``. Or, for latents that were kept: ``switch``; ``remember`` or
    ``skip``; ``append``. A call that fails may be made again. Where rollouts overlap, a cut ends each of
    them, and the latents that are repeated are remembered and appended first.

    Attributes:
        stream: its options.
        cache: keys and values of what was remembered.
        prompt: keys and values of the prompt in use; None before the first ``switch``.
        recent: latents of the last chunks since the last cut, (1, F, C, H, W) each: enough for a window and
            for a decoder, also after ``rewind``.
        start: latent frames since the start of the video, the last hard cut or the start of the rollout.
    """

    def __init__(self, models: ModelBundle, stream: StreamConfig) -> None:
        """Reserve the cache; nothing is computed."""
        config = models.config
        self.start = 0
        self.prompt: PromptKVs | None = None
        window = stream.chunks_in_window
        kept = None if window is None else max(window, -(-DECODER_REACH // stream.chunk)) + MAX_REWIND_CHUNKS
        self.recent: deque[Tensor] = deque(maxlen=kept)
        self._first_rewind = 0
        self._is_last_remembered = True
        self.cache = KVCache(
            config.transformer,
            stream,
            config.tokens_per_latent,
            device=models.device,
            dtype=models.dtype,
            storage=models.runtime.cache_dtype,
        )
        self.stream, self._config = stream, config
        self._transformer, self._writer = models.transformer, models.context_writer
        self._schedule, self._first_schedule = FlowSchedule.of(config), FlowSchedule.of(config, first=True)

    @property
    def num_until_overlap(self) -> int | None:
        """Latents of this rollout before those that the next one repeats; None if the window slides.

        Below 0 where some of these have been made.
        """
        overlap = self.stream.overlap
        return self.stream.window - overlap - self.start if overlap else None

    @torch.no_grad()
    def switch(self, prompt: PromptKVs, switch: str | None) -> None:
        """Go on under another prompt; ``switch`` is as in PromptEvent."""
        if switch == "soft" and self.recent:
            self.cache.rewind(self.start)  # a chunk that was begun and interrupted
            if not self._is_last_remembered:
                self._skip(self.start - self.stream.chunk)
            window, context_noise = torch.cat(tuple(self.recent), dim=1), self.stream.context_noise
            recache(
                self._writer,
                window,
                prompt.context,
                self.cache,
                start=self.start,
                context_noise=context_noise,
            )
            self._is_last_remembered = True
        elif switch == "hard":
            self.cut()
        self.prompt = prompt

    def cut(self) -> None:
        """Forget all latents: the next chunk is the first of a new scene or rollout."""
        self.cache.cut()
        self.recent.clear()
        self.start = self._first_rewind = 0
        self._is_last_remembered = True

    def begin_rollout(self) -> None:
        """Forget all latents; those that come next are what the rollout repeats, and cannot be dropped."""
        self.cut()
        self._first_rewind = self.stream.overlap

    @torch.no_grad()
    def denoise(self, noise: Callable[[int], Tensor], on_step: OnStep = ignore_step) -> Tensor:
        """The clean latents (1, F, C, H, W) of the next chunk; ``noise`` is as for ``denoise_chunk``."""
        schedule = self._schedule if self.start else self._first_schedule
        timesteps = schedule.warped_steps
        assert self.prompt is not None, "a prompt must come first"
        self._make_positions_last(self.start)
        return denoise_chunk(
            self._transformer,
            noise,
            self.prompt.denoising,
            self.cache,
            schedule,
            start=self.start,
            on_step=lambda step, clean: on_step(timesteps[step], clean),
        )

    def attended(self, index: int, switch: SwitchMode | None) -> AttendedChunks:
        """What the next chunk is made from, if it has the number ``index``; ``switch`` happened before it."""
        latents = self.cache.attended(self.start, self.stream.chunk)
        sink, window = (
            tuple(sorted({index - 1 - (self.start - 1 - latent) // self.stream.chunk for latent in some}))
            for some in latents
        )
        return AttendedChunks(sink, window, switch)

    def remember(self, clean: Tensor) -> None:
        """Leave the next chunk's clean latents (1, F, C, H, W) in the cache."""
        self._remember(clean, self.start)

    def needs_clean_pass(self, switch: SwitchMode | None) -> bool:
        """Whether the chunk that was appended last is to be remembered before this switch, or none."""
        return not self._is_last_remembered and switch not in ("soft", "hard")

    def remember_last(self) -> None:
        """Leave the chunk that was appended last, under the prompt still in use, in the cache."""
        self._remember(self.recent[-1], self.start - self.stream.chunk)
        self._is_last_remembered = True

    def _remember(self, clean: Tensor, start: int) -> None:
        assert self.prompt is not None, "a prompt must come first"
        self._make_positions_last(start)
        remember_chunk(
            self._writer,
            clean,
            self.prompt.context,
            self.cache,
            start=start,
            context_noise=self.stream.context_noise,
        )

    def skip(self) -> None:
        """Count the next chunk without leaving it in the cache; a cut or a recache must follow."""
        self._skip(self.start)

    def _skip(self, start: int) -> None:
        self._make_positions_last(start)
        self.cache.skip(start, self.stream.chunk)

    def append(self, clean: Tensor, *, is_remembered: bool) -> None:
        """Go on behind these latents (1, F, C, H, W), the next chunk's, remembered (or skipped) or not."""
        self.start += clean.shape[1]
        self.recent.append(clean)
        self._is_last_remembered = is_remembered

    @property
    def num_rewindable(self) -> int:
        """How many of the last chunks ``rewind`` can drop."""
        since = (self.start - self._first_rewind) // self.stream.chunk
        return max(0, min(since, MAX_REWIND_CHUNKS, len(self.recent)))

    def rewind(self, num_chunks: int) -> None:
        """Drop the last chunks, at most ``num_rewindable``; no prompt may have taken effect in them.

        Unless ``cache.has_gaps`` is False, a soft or hard switch must follow.
        """
        self.start -= num_chunks * self.stream.chunk
        self._is_last_remembered = self._is_last_remembered or num_chunks > 0
        for _ in range(num_chunks):
            self.recent.pop()
        self.cache.rewind(self.start)

    def _make_positions_last(self, start: int) -> None:
        """Change to relative positions if the chunk at ``start`` would exceed the table of positions."""
        shape = self._config.transformer
        if not self.cache.is_relative and start + self.stream.chunk > shape.rope_max_seq_len:
            _, rows, columns = shape.patch_size
            grid = self._config.latent_height // rows, self._config.latent_width // columns
            self.cache.make_relative(self._transformer.rope, *grid)
            self._first_rewind = start  # earlier chunks had other positions
