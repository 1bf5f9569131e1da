"""Attention of the Wan transformer: projections, norms, and what the layers of one pass share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longlive.models.kv_cache import Cache, SlotMapping
from longlive.models.rope import rotate


class Attention(nn.Module):
    """The projections of one attention; parameter names are diffusers'.

    Attributes:
        fused_weight, fused_bias: (3 dim, dim) and (3 dim,) of the one product that gives queries, keys and
            values; None before ``fuse``.
    """

    fused_weight: Tensor | None
    fused_bias: Tensor | None

    def __init__(self, dim: int, num_heads: int, eps: float) -> None:
        """``num_heads`` heads of ``dim / num_heads`` channels."""
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.to_out = nn.Sequential(nn.Linear(dim, dim))
        self.norm_q = RmsNorm(dim, eps)
        self.norm_k = RmsNorm(dim, eps)
        self.register_buffer("fused_weight", None, persistent=False)
        self.register_buffer("fused_bias", None, persistent=False)

    def queries(self, x: Tensor) -> Tensor:
        """(B, L, dim) -> (B, L, N, D)."""
        return self.norm_q(self.to_q(x)).unflatten(-1, (self.num_heads, -1))

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, dim) -> two of (B, L, N, D)."""
        keys = self.norm_k(self.to_k(x)).unflatten(-1, (self.num_heads, -1))
        return keys, self.to_v(x).unflatten(-1, (self.num_heads, -1))

    def queries_keys_values(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, L, dim) -> three of (B, L, N, D), by one product if ``fuse`` has been called."""
        if self.fused_weight is None:
            return self.queries(x), *self.keys_values(x)
        queries, keys, values = F.linear(x, self.fused_weight, self.fused_bias).chunk(3, dim=-1)
        parts = self.norm_q(queries), self.norm_k(keys), values
        queries, keys, values = (part.unflatten(-1, (self.num_heads, -1)) for part in parts)
        return queries, keys, values

    def fuse(self) -> tuple[Tensor, Tensor]:
        """Put the three weights side by side, for one product instead of three; for inference alone.

        The three layers stay, as views of the whole: names, values and memory are those of the checkpoint.

        Returns:
            weight (3 dim, dim) and bias (3 dim,) of the one product.
        """
        if self.fused_weight is not None and self.fused_bias is not None:
            return self.fused_weight, self.fused_bias
        layers = (self.to_q, self.to_k, self.to_v)
        weight = torch.cat([layer.weight.detach() for layer in layers])
        bias = torch.cat([layer.bias.detach() for layer in layers])
        for layer, rows, offsets in zip(layers, weight.chunk(3), bias.chunk(3), strict=True):
            layer.weight = nn.Parameter(rows, requires_grad=False)
            layer.bias = nn.Parameter(offsets, requires_grad=False)
        self.fused_weight, self.fused_bias = weight, bias
        return weight, bias

    def _apply(self, function: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or cast the weights, which undoes the fusing."""
        self.fused_weight = self.fused_bias = None
        return super()._apply(function, recurse)


class RmsNorm(nn.Module):
    """Root-mean-square norm over all heads together, float32 inside, then times a weight."""

    def __init__(self, dim: int, eps: float) -> None:
        """A norm of ``dim`` channels."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) -> same shape."""
        return F.rms_norm(x.float(), (x.shape[-1],), eps=self.eps).type_as(x) * self.weight


@dataclass(frozen=True)
class PromptKV:
    """A prompt's keys and values for the cross-attention of each layer, computed once per prompt.

    Attributes:
        keys, values: per layer (B, text_len, N, D); B may be 1 for a prompt that a batch shares.
    """

    keys: Sequence[Tensor]
    values: Sequence[Tensor]


@dataclass(frozen=True)
class AttentionContext:
    """What the self-attention of one pass attends to; the same for all layers.

    Attributes:
        rotation: of the call's own tokens, as ``Rope.rotation`` gives it.
        cache, slots: None if the call attends to itself alone.
        visible_rotation: of all visible keys in storage order; None if the cache stores them rotated.
    """

    rotation: Tensor
    cache: Cache | None = None
    slots: SlotMapping | None = None
    visible_rotation: Tensor | None = None

    @property
    def key_rotation(self) -> Tensor | None:
        """The rotation of the call's own keys before they are stored; None if they are stored as they are."""
        return self.rotation if self.visible_rotation is None else None

    def complete(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store a layer's new keys (rotated by ``key_rotation``) and values; return all that are visible."""
        if self.cache is None or self.slots is None:
            return keys, values
        keys, values = self.cache.extend(layer, self.slots, keys, values)
        return (keys if self.visible_rotation is None else rotate(keys, self.visible_rotation)), values


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Softmax attention without a mask, scale 1 / sqrt(D).

    Args:
        queries: (B, L, N, D). keys, values: (B or 1, M, N, D).

    Returns:
        (B, L, N * D).
    """
    batch = len(queries)
    keys, values = (x.expand(batch, -1, -1, -1).transpose(1, 2) for x in (keys.type_as(values), values))
    queries = queries.type_as(values).transpose(1, 2)
    if queries.requires_grad and queries.device.type == "cpu":
        return _attend_unfused(queries, keys, values).transpose(1, 2).flatten(2)
    return F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)


@dataclass(frozen=True)
class Backend:
    """A way to compute self-attention.

    Attributes:
        name: as users know it.
        attend: has the contract of the function ``attend`` of this module.
    """

    name: str
    attend: Callable[[Tensor, Tensor, Tensor], Tensor]


SDPA = Backend("sdpa", attend)


def _attend_unfused(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention in three steps, (B, N, L, D): on a CPU its backward pass takes a quarter of the fused one.

    Measured in bfloat16 on one AVX-512 core, 72 queries and 288 keys of 96 heads: 5 ms against 19 ms.
    """
    scores = queries * queries.shape[-1] ** -0.5 @ keys.transpose(-1, -2)
    return scores.softmax(-1) @ values
