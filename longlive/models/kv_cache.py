"""The KV cache of one stream: keys and values of the sink and of the window, in slots of one latent frame.

The first ``sink`` latents stay in their slots (StreamingLLM, arXiv:2309.17453); the others share a ring of
``window - sink`` slots. Attention does not depend on the order of its keys, so nothing is ever shifted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from longlive.config import StreamConfig, TransformerConfig
from longlive.models.rope import Rope, reverse, rotate, runs
from longlive.models.window_index import WindowIndex

Pair = tuple[Tensor, Tensor]
"""Keys and values of one latent in one layer, (B, tokens_per_latent, N, D) each."""

_FIRST_LATENTS = 24
"""Latents that an endless window has slots for at first."""


@dataclass(frozen=True)
class SlotMapping:
    """Which slots one call's latents are written to and which it attends to; the same for all layers.

    Attributes:
        start, num_latents: the call's latents, counted from the start of the video.
        visible: the latents that the call attends to, itself included, in storage order.
        query_positions: position in time of each latent of the call.
        key_positions: position in time of each visible latent; None if keys are stored rotated.
        writes: pairs of (tokens of the call, tokens of the storage).
        remembered: ListCache only: what each layer held before the call, so that the call can be run again.
        call: ListCache only: number of the call; FSDP2 hands copies of a mapping to the blocks.
    """

    start: int
    num_latents: int
    visible: tuple[int, ...]
    query_positions: tuple[int, ...]
    key_positions: tuple[int, ...] | None
    writes: tuple[tuple[slice, slice], ...] = ()
    remembered: tuple[dict[int, "Pair"], ...] = ()
    call: int = 0


class Cache(Protocol):
    """What the transformer needs of a cache."""

    stream: StreamConfig

    @property
    def has_rolled(self) -> bool:
        """Whether any latent has been forgotten."""

    @property
    def num_remembered(self) -> int:
        """How many latents are visible."""

    def place(self, start: int, num_latents: int) -> SlotMapping:
        """Make room for a call's latents; return their slots and those that the call attends to."""

    def extend(self, layer: int, slots: SlotMapping, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store one layer's keys and values of the call; return those of all visible latents."""

    def reset(self) -> None:
        """Forget everything; the next call may start anywhere, and its first latents become the sink."""


class KVCache:
    """Sink slots and a ring for all layers of one stream, written in place; not for autograd (see ListCache).

    Latent f, counted from the first that was placed, is stored in slot f if it belongs to the sink, else in
    slot ``sink + (f - sink) % (window - sink)``. The filled slots are always a prefix of the storage, so what
    is visible is a view. The newest latents may be placed again: each denoising step does so, and the clean
    pass at the end leaves what later chunks will see.

    Attributes:
        stream: the window and the sink.
        captured: what a GraphReplayer has captured for this storage; dropped when the storage moves.
    """

    def __init__(
        self,
        transformer: TransformerConfig,
        stream: StreamConfig,
        tokens_per_latent: int,
        *,
        batch: int = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
        storage: torch.dtype | None = None,
    ) -> None:
        """Reserve the memory for ``stream.window`` latents; an endless window (-1) grows as it is filled.

        Args:
            transformer, stream: give the shape of keys and values, and the window.
            tokens_per_latent: tokens of one latent frame.
            batch: streams that are run together.
            device, dtype: of the keys and values that are given and returned.
            storage: the dtype that they are stored in, such as ``torch.float8_e4m3fn`` for half the memory of
                16 bits; None for ``dtype``.
        """
        self.stream = stream
        self._dtype = dtype
        self.captured: dict[Any, Any] = {}
        self._num_positions = transformer.rope_max_seq_len
        self._index = WindowIndex(stream, self._num_positions)
        self._tokens = tokens_per_latent
        self._capacity = _FIRST_LATENTS if stream.window == -1 else stream.window
        shape = (2, batch, self._capacity * tokens_per_latent)
        heads = (transformer.num_attention_heads, transformer.attention_head_dim)
        self._layers = [
            torch.zeros((*shape, *heads), device=device, dtype=storage or dtype)
            for _ in range(transformer.num_layers)
        ]

    @property
    def num_bytes(self) -> int:
        """Memory that the keys and values take."""
        return sum(layer.nbytes for layer in self._layers)

    @property
    def has_rolled(self) -> bool:
        """Whether any latent has been forgotten."""
        return self._index.has_rolled

    @property
    def num_remembered(self) -> int:
        """How many latents are visible."""
        return self._index.num_visible

    @property
    def has_gaps(self) -> bool:
        """Whether latents that should be visible were skipped."""
        return self._index.has_gaps

    def attended(self, start: int, num_latents: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The latents that a call attends to beside its own: those of the sink, and the others."""
        return self._index.attended(start, num_latents)

    @property
    def is_relative(self) -> bool:
        """Whether keys are stored without rotation, for positions that count within the window."""
        return self._index.is_relative

    def reset(self) -> None:
        """Forget everything; the next call may start anywhere, and its first latents become the sink."""
        self._index.reset()

    def cut(self) -> None:
        """Reset for a hard cut: positions, too, count as ``stream`` says again."""
        self._index = WindowIndex(self.stream, self._num_positions)

    def skip(self, start: int, num_latents: int) -> None:
        """Count a call's latents as placed, without keys and values: a recache or a reset must follow.

        What comes before the skipped latents, such as the sink, is still remembered.
        """
        self._index.skip(start, num_latents)
        self._grow()

    def rewind(self, end: int) -> None:
        """Forget the latents from number ``end`` on; see ``has_gaps`` for whether a recache must follow."""
        self._index.rewind(end)

    def set_storage_dtype(self, storage: torch.dtype) -> None:
        """Store all keys and values in this dtype from now on; what is stored is cast layer by layer."""
        if any(layer.dtype != storage for layer in self._layers):
            self.captured.clear()
            for number, layer in enumerate(self._layers):
                self._layers[number] = layer.to(storage)

    def place(self, start: int, num_latents: int) -> SlotMapping:
        """Make room for a call's latents; return their slots and those that the call attends to.

        Arguments and errors as for ``WindowIndex.place``.
        """
        latents = self._index.place(start, num_latents)
        self._grow()
        visible = self._visible()
        return SlotMapping(
            start=start,
            num_latents=num_latents,
            visible=visible,
            query_positions=self._index.positions(latents),
            key_positions=self._index.positions(visible) if self.is_relative else None,
            writes=_slices([self._slot(latent) for latent in latents], self._tokens),
        )

    def extend(self, layer: int, slots: SlotMapping, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Remember one layer's keys and values of the call; return those of all visible latents.

        Args:
            layer: number of the transformer block.
            slots: what ``place`` returned for this call.
            keys, values: (B, L, N, D); keys rotated if positions are absolute.

        Returns:
            keys, values: (B, visible tokens, N, D), views of the storage (copies, if it is of another dtype),
            ordered as ``slots.visible``.

        Raises:
            ValueError: if a gradient is asked for, which writing in place would spoil.
        """
        if torch.is_grad_enabled() and keys.requires_grad:
            raise ValueError(
                "KVCache is written in place and cannot carry gradients. Use a ListCache for training."
            )
        for source, kept_keys, kept_values in self.slot_views(layer, slots):
            kept_keys.copy_(keys[:, source])
            kept_values.copy_(values[:, source])
        return self.visible(layer, slots)

    def slot_views(self, layer: int, slots: SlotMapping) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Where a call's keys and values go: its tokens, and views (B, tokens, N, D) to fill."""
        keys, values = self._layers[layer]
        for source, target in slots.writes:
            yield source, keys[:, target], values[:, target]

    def visible(self, layer: int, slots: SlotMapping) -> tuple[Tensor, Tensor]:
        """A layer's keys and values of all visible latents, (B, M, N, D) each, as ``extend`` returns them."""
        keys, values = self._layers[layer][:, :, : len(slots.visible) * self._tokens]
        return keys.to(self._dtype), values.to(self._dtype)

    def contents(self, layer: int) -> dict[int, tuple[Tensor, Tensor]]:
        """Keys and values (B, tokens_per_latent, N, D) of each visible latent, for tests and inspection."""
        visible = self._visible()
        pairs = self._layers[layer][:, :, : len(visible) * self._tokens].split(self._tokens, dim=2)
        return {latent: (pair[0], pair[1]) for latent, pair in zip(visible, pairs, strict=False)}

    def make_relative(self, rope: Rope, rows: int, columns: int) -> None:
        """Change from absolute to relative positions, as must happen before the table of positions ends.

        Undoes the rotation of all stored keys; ``rows`` and ``columns`` are the tokens of a latent frame.
        """
        visible = self._visible()
        if not self.is_relative and visible:
            back = reverse(rope.rotation(visible, rows, columns))
            for layer in self._layers:
                stored = layer[0, :, : len(visible) * self._tokens]
                stored.copy_(rotate(stored.to(self._dtype), back))
        self._index.is_relative = True

    def _slot(self, latent: int) -> int:
        slot, sink, window = latent - self._index.placed.start, self.stream.sink, self.stream.window
        return slot if slot < sink or window == -1 else sink + (slot - sink) % (window - sink)

    def _visible(self) -> tuple[int, ...]:
        """The visible latents, in storage order."""
        return tuple(sorted(self._index.visible(), key=self._slot))

    def _grow(self) -> None:
        """Make room for all latents of an endless window."""
        num_latents = self._index.num_visible
        if num_latents > self._capacity:
            capacity = max(num_latents, 2 * self._capacity)
            self.captured.clear()
            for number, old in enumerate(self._layers):
                new = old.new_zeros((*old.shape[:2], capacity * self._tokens, *old.shape[3:]))
                new[:, :, : old.shape[2]] = old
                self._layers[number] = new
            self._capacity = capacity  # only now: if memory runs out on the way, the next call tries again


def _slices(slots: list[int], tokens: int) -> tuple[tuple[slice, slice], ...]:
    """(tokens of the call, tokens of the storage) for each stretch of neighbouring slots."""
    result, done = [], 0
    for first, last in runs(slots):
        size = last - first
        result.append((slice(done * tokens, (done + size) * tokens), slice(first * tokens, last * tokens)))
        done += size
    return tuple(result)
