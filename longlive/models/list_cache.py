"""The differentiable KV cache, for training."""

import torch
from torch import Tensor

from longlive.config import StreamConfig, TransformerConfig
from longlive.models.kv_cache import Pair, SlotMapping
from longlive.models.window_index import WindowIndex


class ListCache:
    """KVCache for training: one pair of tensors per layer and latent, concatenated at each call.

    Nothing is written in place, so gradients flow through what was stored with them. A call can be run again
    after later ones, as gradient checkpointing does: it sees what it saw the first time and changes nothing.

    Attributes:
        stream: the window and the sink.
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
        """An empty cache; batch, device and dtype follow from what is stored."""
        self.stream = stream
        self._index = self._new_index(transformer.rope_max_seq_len)
        self._tokens = tokens_per_latent
        self._layers: list[dict[int, Pair]] = [{} for _ in range(transformer.num_layers)]
        self._call = 0

    @property
    def placed(self) -> range:
        """The latents placed since the last reset, forgotten ones included."""
        return self._index.placed

    @property
    def has_rolled(self) -> bool:
        """Whether any latent has been forgotten."""
        return self._index.has_rolled

    @property
    def num_remembered(self) -> int:
        """How many latents are visible."""
        return self._index.num_visible

    def reset(self) -> None:
        """Forget everything; the next call may start anywhere, and its first latents become the sink."""
        self._index.reset()
        self._layers = [{} for _ in self._layers]
        self._call += 1

    def place(self, start: int, num_latents: int) -> SlotMapping:
        """Make room for a call's latents, as KVCache does; visible latents are listed in order of time."""
        latents = self._index.place(start, num_latents)
        visible = self._index.visible()
        self._call += 1
        return SlotMapping(
            start=start,
            num_latents=num_latents,
            visible=visible,
            query_positions=self._index.positions(latents),
            key_positions=self._index.positions(visible) if self._index.is_relative else None,
            remembered=tuple(self._layers),
            call=self._call,
        )

    def extend(self, layer: int, slots: SlotMapping, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store one layer's keys and values, as KVCache does; the results are copies and carry gradients."""
        latents = range(slots.start, slots.start + slots.num_latents)
        pairs = zip(keys.split(self._tokens, 1), values.split(self._tokens, 1), strict=True)
        stored = slots.remembered[layer] | dict(zip(latents, pairs, strict=True))
        visible = {latent: stored[latent] for latent in slots.visible}
        if slots.call == self._call:
            self._layers[layer] = visible
        all_keys, all_values = zip(*visible.values(), strict=True)
        return torch.cat(all_keys, 1), torch.cat(all_values, 1)

    def contents(self, layer: int) -> dict[int, Pair]:
        """Keys and values (B, tokens_per_latent, N, D) of each visible latent, for tests and inspection."""
        return dict(self._layers[layer])

    def restore(self, placed: range, layers: list[dict[int, Pair]]) -> None:
        """Take over the ``contents`` of each layer of a stream whose latents ``placed`` have been placed."""
        self.reset()
        self._index.placed, self._layers = placed, [dict(layer) for layer in layers]

    def _new_index(self, num_positions: int) -> WindowIndex:
        return WindowIndex(self.stream, num_positions)
