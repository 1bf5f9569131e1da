"""The memory of one stream: keys and values of the sink and of the window, in slots of one latent frame.

The first ``sink`` latents stay in their slots (StreamingLLM, arXiv:2309.17453); the others share a ring of
``window - sink`` slots. Attention does not depend on the order of its keys, so nothing is ever shifted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from longlive.config import StreamConfig, TransformerConfig
from longlive.errors import ConfigError
from longlive.models.rope import Rope, reverse, rotate, runs

Pair = tuple[Tensor, Tensor]
"""Keys and values of one latent in one layer, (B, tokens_per_latent, N, D) each."""

_FIRST_LATENTS = 24
"""Latents that an endless window has room for at first."""


@dataclass(frozen=True)
class SlotMapping:
    """Where one call's latents go and what they may see: host facts, shared by all layers.

    Attributes:
        start, num_latents: the call's latents, counted from the start of the video.
        visible: the latents that the call attends to, itself included, in storage order.
        query_positions: position in time of each latent of the call.
        key_positions: position in time of each visible latent; None if keys are stored rotated.
        writes: pairs of (tokens of the call, tokens of the storage).
        remembered: what each layer held before the call (ListCache), so that the call can be run again.
        call: number of the call (ListCache); FSDP2 hands copies of a placement to the blocks.
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
        """Make room for a call's latents and say what it may see."""

    def extend(self, layer: int, slots: SlotMapping, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Remember one layer's keys and values of the call; return those of all visible latents."""

    def reset(self) -> None:
        """Forget everything; the next call may start anywhere, and its first latents become the sink."""


class KVCache:
    """Sink slots and a ring for all layers of one stream, written in place; not for autograd (see ListCache).

    Latent f, counted from the first that was placed, lives in slot f if it belongs to the sink, else in slot
    ``sink + (f - sink) % (window - sink)``. The filled slots are always a prefix of the storage, so what is
    visible is a view. The newest latents may be placed again: each denoising step does so, and the clean pass
    at the end leaves what later chunks will see.

    Attributes:
        recordings: what a GraphReplayer keeps for this storage; forgotten when the storage moves.
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

        ``dtype`` is what keys and values are given and handed out in; ``storage`` what they are kept in, such
        as ``torch.float8_e4m3fn`` for half the memory of 16 bits; None for the same.
        """
        self.stream = stream
        self._dtype = dtype
        self.is_relative = stream.positions == "relative"
        self.recordings: dict[Any, Any] = {}
        self._num_positions = transformer.rope_max_seq_len
        self._tokens = tokens_per_latent
        self._capacity = _FIRST_LATENTS if stream.window == -1 else stream.window
        shape = (2, batch, self._capacity * tokens_per_latent)
        heads = (transformer.num_attention_heads, transformer.attention_head_dim)
        self._layers = [
            torch.zeros((*shape, *heads), device=device, dtype=storage or dtype)
            for _ in range(transformer.num_layers)
        ]
        self.reset()

    @property
    def num_bytes(self) -> int:
        """Memory that the keys and values take."""
        return sum(layer.nbytes for layer in self._layers)

    @property
    def has_rolled(self) -> bool:
        """Whether any latent has been forgotten."""
        return self.num_remembered < self._end - self._origin

    @property
    def num_remembered(self) -> int:
        """How many latents are visible."""
        placed = self._end - self._origin
        return placed if self.stream.window == -1 else min(placed, self.stream.window)

    @property
    def has_gaps(self) -> bool:
        """Whether latents that should be visible were skipped."""
        return any(latent in self._skipped for latent in self._visible())

    def reset(self) -> None:
        """Forget everything; the next call may start anywhere, and its first latents become the sink."""
        self._origin = self._end = 0
        self._skipped = range(0)

    def skip(self, start: int, num_latents: int) -> None:
        """Count a call's latents as placed, without keys and values: a recache or a reset must follow.

        What comes before the skipped latents, as the sink does, is still remembered.
        """
        end = start + num_latents
        self._origin = start if self._end == self._origin else self._origin
        self._skipped = range(self._skipped.start if self._skipped else start, end)
        self._end = end
        self._grow(end - self._origin)

    def set_storage_dtype(self, storage: torch.dtype) -> None:
        """Keep all keys and values in this dtype from now on; they go over to it layer by layer."""
        if any(layer.dtype != storage for layer in self._layers):
            self.recordings.clear()
            for number, layer in enumerate(self._layers):
                self._layers[number] = layer.to(storage)

    def place(self, start: int, num_latents: int) -> SlotMapping:
        """Make room for a call's latents and say what it may see.

        Args:
            start: the call's first latent, counted from the start of the video; either the next one, or such
                that the call ends with the newest.
            num_latents: at least 1.

        Raises:
            ConfigError: if the positions exceed the transformer's table.
            ValueError: if the call leaves a gap, holds latents that were forgotten, or sees skipped ones.
        """
        end = start + num_latents
        origin = start if self._end == self._origin else self._origin
        check_call(start, end, origin, self._end if self._end > origin else start, self.stream)
        check_positions(self.stream, self.is_relative, end, end - origin, self._num_positions)
        self._origin, self._end = origin, end
        self._skipped = self._unseen(start)
        self._grow(end - origin)
        slots = [self._slot(latent) for latent in range(start, end)]
        visible = self._visible()
        ranks = {latent: rank for rank, latent in enumerate(sorted(visible))}
        return SlotMapping(
            start=start,
            num_latents=num_latents,
            visible=visible,
            query_positions=tuple(ranks[f] if self.is_relative else f for f in range(start, end)),
            key_positions=tuple(ranks[f] for f in visible) if self.is_relative else None,
            writes=_slices(slots, self._tokens),
        )

    def extend(self, layer: int, slots: SlotMapping, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Remember one layer's keys and values of the call; return those of all visible latents.

        Args:
            layer: number of the transformer block.
            placement: what ``place`` returned for this call.
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
        """Where a layer's keys and values of a call go: its tokens, and views (B, tokens, N, D) to fill."""
        keys, values = self._layers[layer]
        for source, target in slots.writes:
            yield source, keys[:, target], values[:, target]

    def visible(self, layer: int, slots: SlotMapping) -> tuple[Tensor, Tensor]:
        """A layer's keys and values of all visible latents, as ``extend`` returns them."""
        keys, values = self._layers[layer][:, :, : len(slots.visible) * self._tokens]
        return keys.to(self._dtype), values.to(self._dtype)

    def contents(self, layer: int) -> dict[int, tuple[Tensor, Tensor]]:
        """Keys and values (B, tokens_per_latent, N, D) of each visible latent, for tests and inspection."""
        visible = self._visible()
        pairs = self._layers[layer][:, :, : len(visible) * self._tokens].split(self._tokens, dim=2)
        return {latent: (pair[0], pair[1]) for latent, pair in zip(visible, pairs, strict=False)}

    def make_relative(self, rope: Rope, rows: int, columns: int) -> None:
        """Go over from absolute to relative positions, as must happen before the table of positions ends.

        Undoes the rotation of all stored keys; ``rows`` and ``columns`` are the tokens of a latent frame.
        """
        visible = self._visible()
        if not self.is_relative and visible:
            back = reverse(rope.rotation(visible, rows, columns))
            for layer in self._layers:
                stored = layer[0, :, : len(visible) * self._tokens]
                stored.copy_(rotate(stored.to(self._dtype), back))
        self.is_relative = True

    def _unseen(self, start: int) -> range:
        """What stays skipped when the latents from ``start`` on are placed."""
        skipped = range(self._skipped.start, min(self._skipped.stop, start))
        seen = [latent for latent in self._visible() if latent in skipped]
        if seen:
            raise ValueError(f"latents {seen[0]} to {seen[-1]} were skipped: a recache must come first")
        return skipped

    def _slot(self, latent: int) -> int:
        slot, sink, window = latent - self._origin, self.stream.sink, self.stream.window
        return slot if slot < sink or window == -1 else sink + (slot - sink) % (window - sink)

    def _visible(self) -> tuple[int, ...]:
        latents = range(self._origin, self._end)
        forgotten = len(latents) - self.num_remembered
        kept = [*latents[: self.stream.sink], *latents[self.stream.sink + forgotten :]]
        return tuple(sorted(kept, key=self._slot))

    def _grow(self, num_latents: int) -> None:
        if self.stream.window == -1 and num_latents > self._capacity:
            capacity = max(num_latents, 2 * self._capacity)
            self.recordings.clear()
            for number, old in enumerate(self._layers):
                new = old.new_zeros((*old.shape[:2], capacity * self._tokens, *old.shape[3:]))
                new[:, :, : old.shape[2]] = old
                self._layers[number] = new
            self._capacity = capacity  # not before: where the memory runs out on the way, it is tried again


def check_call(start: int, end: int, first: int, newest: int, stream: StreamConfig) -> None:
    """Refuse latents [start, end) that leave a gap after ``newest`` or that the window has forgotten."""
    if not (0 <= first <= start <= newest <= end and start < end):
        raise ValueError(
            f"latents {start} to {end - 1} do not continue a stream that holds {first} to {newest - 1}"
        )
    if stream.window != -1 and end - first > stream.window and start < end - (stream.window - stream.sink):
        raise ValueError(
            f"{end - start} latents from {start} exceed the {stream.window - stream.sink} beside the sink"
        )


def check_positions(
    stream: StreamConfig, is_relative: bool, end: int, placed: int, num_positions: int
) -> None:
    """Refuse positions beyond the transformer's table."""
    if not is_relative and end > num_positions:
        rule = f"latent {end - 1} lies beyond the {num_positions} positions of this transformer"
        raise ConfigError("positions", "absolute", rule, 'Use positions="relative".')
    if is_relative and (placed if stream.window == -1 else min(placed, stream.window)) > num_positions:
        rule = f"more than {num_positions} visible latents have no positions in this transformer"
        raise ConfigError("window", stream.window, rule, f"Use at most {num_positions}.")


def _slices(slots: list[int], tokens: int) -> tuple[tuple[slice, slice], ...]:
    """(tokens of the call, tokens of the storage) for each stretch of neighbouring slots."""
    result, done = [], 0
    for first, last in runs(slots):
        size = last - first
        result.append((slice(done * tokens, (done + size) * tokens), slice(first * tokens, last * tokens)))
        done += size
    return tuple(result)
