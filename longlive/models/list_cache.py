"""The differentiable KV cache, for training."""

import torch
from torch import Tensor

from longlive.config import StreamConfig, TransformerConfig
from longlive.models.kv_cache import Pair, SlotMapping, check_call, check_positions


class ListCache:
    """The plain twin of KVCache: one pair of tensors per layer and latent, joined at each call.

    Nothing is written in place, so gradients flow through what was remembered with them: training uses it.
    A call can be run again after later ones, as gradient checkpointing does: it sees what it saw, and leaves
    the memory alone.
    """

    def __init__(
        self,
        transformer: TransformerConfig,
        stream: StreamConfig,
        tokens_per_latent: int,
        *,
        batch: int = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """An empty memory; batch, device and dtype follow from what is put in."""
        self.stream = stream
        self._num_positions = transformer.rope_max_seq_len
        self._tokens = tokens_per_latent
        self._layers: list[dict[int, Pair]] = [{} for _ in range(transformer.num_layers)]
        self._call = 0
        self.reset()

    @property
    def has_rolled(self) -> bool:
        """Whether any latent has been forgotten."""
        return self.num_remembered < len(self._placed)

    @property
    def num_remembered(self) -> int:
        """How many latents are visible."""
        return len(self._visible())

    def reset(self) -> None:
        """Forget everything; the next call may start anywhere, and its first latents become the sink."""
        self._placed: list[int] = []
        self._layers = [{} for _ in self._layers]
        self._call += 1

    def place(self, start: int, num_latents: int) -> SlotMapping:
        """As KVCache.place; what is visible is listed in order of time."""
        end = start + num_latents
        first, newest = (self._placed[0], self._placed[-1] + 1) if self._placed else (start, start)
        is_relative = self.stream.positions == "relative"
        self._check_call(start, end, first, newest)
        check_positions(self.stream, is_relative, end, end - first, self._num_positions)
        self._placed = list(range(first, end))
        visible = self._visible()
        ranks = {latent: rank for rank, latent in enumerate(visible)}
        self._call += 1
        return SlotMapping(
            start=start,
            num_latents=num_latents,
            visible=visible,
            query_positions=tuple(ranks.get(f, 0) if is_relative else f for f in range(start, end)),
            key_positions=tuple(range(len(visible))) if is_relative else None,
            remembered=tuple(self._layers),
            call=self._call,
        )

    def extend(self, layer: int, slots: SlotMapping, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """As KVCache.extend, but the results are copies and carry gradients."""
        latents = range(slots.start, slots.start + slots.num_latents)
        pairs = zip(keys.split(self._tokens, 1), values.split(self._tokens, 1), strict=True)
        memory = slots.remembered[layer] | dict(zip(latents, pairs, strict=True))
        seen = {latent: memory[latent] for latent in slots.visible}
        if slots.call == self._call:
            self._layers[layer] = seen
        return torch.cat([pair[0] for pair in seen.values()], 1), torch.cat(
            [pair[1] for pair in seen.values()], 1
        )

    def contents(self, layer: int) -> dict[int, Pair]:
        """Keys and values (B, tokens_per_latent, N, D) of each visible latent, for tests and inspection."""
        return dict(self._layers[layer])

    def restore(self, placed: range, layers: list[dict[int, Pair]]) -> None:
        """Hold ``contents`` of each layer again, of a stream whose latents ``placed`` have been placed."""
        self.reset()
        self._placed, self._layers = list(placed), [dict(layer) for layer in layers]

    @property
    def placed(self) -> range:
        """The latents placed since the last reset, forgotten ones included."""
        return range(self._placed[0], self._placed[-1] + 1) if self._placed else range(0)

    def _check_call(self, start: int, end: int, first: int, newest: int) -> None:
        check_call(start, end, first, newest, self.stream)

    def _visible(self) -> tuple[int, ...]:
        sink, window = self.stream.sink, self.stream.window
        if window == -1 or len(self._placed) <= window:
            return tuple(self._placed)
        return (*self._placed[:sink], *self._placed[len(self._placed) - (window - sink) :])
