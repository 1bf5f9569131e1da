"""The released training's cache, faults included: zero sinks and histories that outlive their values.

Source: the released code as ``streaming_tuning.md`` describes it. Its buffer holds a window and a clip; each
latent has a slot there, and once the buffer is full, slots after the sink move left.
"""

import torch
from torch import Tensor

from longlive.config import StreamConfig, TransformerConfig
from longlive.models.kv_cache import Pair, SlotMapping
from longlive.models.list_cache import ListCache


class ReleasedCache(ListCache):
    """A ListCache that can be emptied while its latents stay placed, and that leaks gradients if it is told.

    Leaking, a latent's keys and values get new values without gradients, but keep the history of those that
    they replace. Histories belong to slots: when a call without gradients moves the buffer, the values move
    and the histories stay, so that they go with the wrong latents.
    """

    def __init__(
        self,
        transformer: TransformerConfig,
        stream: StreamConfig,
        tokens_per_latent: int,
        *,
        clip: int,
        leaks_gradients: bool,
    ) -> None:
        """An empty memory; ``clip`` latents fit into the buffer beside the window."""
        super().__init__(transformer, stream, tokens_per_latent)
        self._leaks = leaks_gradients
        self._capacity = stream.window + clip

    def empty(self) -> None:
        """Make all keys and values zero; what is not written again is attended to as zeros."""
        self._layers = [
            {
                latent: (torch.zeros_like(keys), torch.zeros_like(values))
                for latent, (keys, values) in layer.items()
            }
            for layer in self._layers
        ]

    def place(self, start: int, num_latents: int) -> SlotMapping:
        """As ListCache.place, but one call may hold more latents than the window."""
        moved = self._num_moved()
        slots = super().place(start, num_latents)
        moved = self._num_moved() - moved
        if self._leaks and moved and not torch.is_grad_enabled():
            self._layers = [self._with_histories_behind(layer, moved) for layer in self._layers]
            slots = super().place(start, num_latents)
        return slots

    def extend(self, layer: int, slots: SlotMapping, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """As ListCache.extend; if there is a leak, new values without gradients keep the old history."""
        seen = super().extend(layer, slots, keys, values)
        if self._leaks and not torch.is_grad_enabled():
            before, after = slots.remembered[layer], self._layers[layer]
            new = range(slots.start, slots.start + slots.num_latents)
            leaked = {f: _with_history(after[f], before[f]) for f in new if f in before and f in after}
            self._layers[layer] = after | leaked
        return seen

    def _check_call(self, start: int, end: int, first: int, newest: int) -> None:
        if start != first:
            super()._check_call(start, end, first, newest)

    def _num_moved(self) -> int:
        """How many slots the latents after the sink have moved to the left so far."""
        return 0 if self.stream.window == -1 else max(0, len(self.placed) - self._capacity)

    def _with_histories_behind(self, layer: dict[int, Pair], moved: int) -> dict[int, Pair]:
        sink = set(self.placed[: self.stream.sink])
        return {
            latent: pair if latent in sink else _with_history(pair, layer.get(latent - moved, pair))
            for latent, pair in layer.items()
        }


def _with_history(values: Pair, history: Pair) -> Pair:
    """``values`` as they are, whose gradients go where those of ``history`` go."""
    with torch.enable_grad():
        keys, new = (
            v.detach() + (h - h.detach()) if h.requires_grad else v.detach()
            for v, h in zip(values, history, strict=True)
        )
    return keys, new
