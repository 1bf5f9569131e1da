# mypy: disable-error-code="no-untyped-def"
# What a kernel is given, Triton types at each call.
"""The small steps between a block's products, each read once and written once, as Triton kernels.

Import this module only where Triton is installed. One program works on one token, in float32; a token's
channels fit its registers. The plain equivalents are in ``transformer.py`` and ``attention.py``.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

FP8 = torch.float8_e4m3fn
FP8_MAX = torch.finfo(FP8).max


class Rows(NamedTuple):
    """Rows in 8-bit floats: ``values`` (L, K) times ``scales`` (L, 1) in float32 are the numbers."""

    values: Tensor
    scales: Tensor


def add_norm(
    x: Tensor,
    multiplier: Tensor,
    shift: Tensor,
    eps: float,
    *,
    added: Tensor | None = None,
    gate: Tensor | None = None,
    plus_one: bool = True,
    rounded: bool = False,
) -> tuple[Tensor, Tensor | Rows]:
    """``total = x + gate * added`` and its layer norm, ``layer_norm(total) * multiplier + shift``.

    Args:
        x, added: (L, dim), contiguous; without ``added`` the total is ``x`` itself. Without ``gate`` it is 1.
        multiplier, shift, gate: (dim,), contiguous.
        plus_one: multiply by ``1 + multiplier``, as a modulation does.
        rounded: give the norm in 8-bit floats, one scale per row.

    Returns:
        the total, and its norm: (L, dim) each.
    """
    rows, dim = x.shape
    total = x if added is None else torch.empty_like(x)
    out = torch.empty_like(x, dtype=FP8 if rounded else x.dtype)
    scales = torch.empty(rows, 1, device=x.device) if rounded else x
    _add_norm[(rows,)](
        x,
        x if added is None else added,
        shift if gate is None else gate,
        multiplier,
        shift,
        total,
        out,
        scales,
        dim,
        eps,
        FP8_MAX,
        HAS_ADDED=added is not None,
        HAS_GATE=gate is not None,
        PLUS_ONE=plus_one,
        ROUNDED=rounded,
        BLOCK=triton.next_power_of_2(dim),
        num_warps=4,
    )
    return total, Rows(out, scales) if rounded else out


def norm_and_turn(
    x: Tensor,
    out: Tensor,
    *,
    weight: Tensor | None = None,
    rotation: Tensor | None = None,
    eps: float = 0.0,
) -> Tensor:
    """Queries or keys as the attention takes them: root-mean-square norm over all heads, then rotation.

    Args:
        x: (L, N, D); neighbouring heads and channels lie side by side, rows may lie anywhere.
        out: the same, and what is written.
        weight: (N * D,) of the norm; None for no norm.
        rotation: (L, 1, D / 2, 2) float32, as ``Rope.rotation``; None for none.
        eps: of the norm.
    """
    rows, heads, channels = x.shape
    _norm_and_turn[(rows,)](
        x,
        out,
        x if weight is None else weight,
        x if rotation is None else rotation,
        x.stride(0),
        out.stride(0),
        heads * channels,
        eps,
        HEAD=channels,
        NORM=weight is not None,
        TURN=rotation is not None,
        BLOCK=triton.next_power_of_2(heads * channels),
        num_warps=4,
    )
    return out


def round_rows(x: Tensor, *, gelu: bool = False) -> Rows:
    """Rows (L, K), contiguous, in 8-bit floats with one scale each; of ``gelu(x)`` (tanh) if asked."""
    rows, size = x.shape
    values = torch.empty_like(x, dtype=FP8)
    scales = torch.empty(rows, 1, device=x.device)
    # A row of 8960 as 8192 and 1024: as one block of 16384, nearly half of it would be empty.
    block = triton.next_power_of_2(size + 1) // 2
    rest = triton.next_power_of_2(size - block) if size > block else 0
    _round_rows[(rows,)](
        x, values, scales, size, FP8_MAX, GELU=gelu, BLOCK=block, REST=rest, num_warps=8 if size > 4096 else 4
    )
    return Rows(values, scales)


@triton.jit
def _add_norm(
    x_ptr,
    added_ptr,
    gate_ptr,
    multiplier_ptr,
    shift_ptr,
    total_ptr,
    out_ptr,
    scales_ptr,
    dim,
    eps,
    largest,
    HAS_ADDED: tl.constexpr,
    HAS_GATE: tl.constexpr,
    PLUS_ONE: tl.constexpr,
    ROUNDED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < dim
    place = row * dim + columns
    x = tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32)
    if HAS_ADDED:
        added = tl.load(added_ptr + place, mask=inside, other=0.0).to(tl.float32)
        if HAS_GATE:
            added *= tl.load(gate_ptr + columns, mask=inside, other=0.0).to(tl.float32)
        total = (x + added).to(total_ptr.dtype.element_ty)
        tl.store(total_ptr + place, total, mask=inside)
        x = total.to(tl.float32)
    centred = tl.where(inside, x - tl.sum(x, 0) / dim, 0.0)
    normed = centred * tl.rsqrt(tl.sum(centred * centred, 0) / dim + eps)
    multiplier = tl.load(multiplier_ptr + columns, mask=inside, other=0.0).to(tl.float32)
    if PLUS_ONE:
        multiplier += 1.0
    result = normed * multiplier + tl.load(shift_ptr + columns, mask=inside, other=0.0).to(tl.float32)
    if ROUNDED:
        scale = tl.maximum(tl.max(tl.abs(result), 0), 1e-12) / largest
        tl.store(scales_ptr + row, scale)
        result = result / scale
    tl.store(out_ptr + place, result.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _norm_and_turn(
    x_ptr,
    out_ptr,
    weight_ptr,
    rotation_ptr,
    x_stride,
    out_stride,
    dim,
    eps,
    HEAD: tl.constexpr,
    NORM: tl.constexpr,
    TURN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < dim
    x = tl.load(x_ptr + row * x_stride + columns, mask=inside, other=0.0).to(tl.float32)
    if NORM:
        x *= tl.rsqrt(tl.sum(x * x, 0) / dim + eps)
        x *= tl.load(weight_ptr + columns, mask=inside, other=0.0).to(tl.float32)
    if TURN:
        # Each pair of channels has its cosine and its sine at the same two places.
        turn = tl.load(rotation_ptr + row * HEAD + columns % HEAD, mask=inside, other=0.0)
        first, second = tl.split(tl.reshape(x, (BLOCK // 2, 2)))
        cosine, sine = tl.split(tl.reshape(turn, (BLOCK // 2, 2)))
        turned = tl.join(first * cosine - second * sine, first * sine + second * cosine)
        x = tl.reshape(turned, (BLOCK,))
    tl.store(out_ptr + row * out_stride + columns, x.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _gelu(x):
    """By the tanh formula, which is ``x * sigmoid(2 u)`` with the tanh of ``u``."""
    return x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))


@triton.jit
def _part_of_row(x_ptr, columns, size, GELU: tl.constexpr):
    x = tl.load(x_ptr + columns, mask=columns < size, other=0.0).to(tl.float32)
    if GELU:
        x = _gelu(x)
    return x


@triton.jit
def _round_rows(
    x_ptr,
    values_ptr,
    scales_ptr,
    size,
    largest,
    GELU: tl.constexpr,
    BLOCK: tl.constexpr,
    REST: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    x_ptr += row * size
    values_ptr += row * size
    columns = tl.arange(0, BLOCK)
    first = _part_of_row(x_ptr, columns, size, GELU)
    highest = tl.max(tl.abs(first), 0)
    if REST > 0:
        others = BLOCK + tl.arange(0, REST)
        second = _part_of_row(x_ptr, others, size, GELU)
        highest = tl.maximum(highest, tl.max(tl.abs(second), 0))
        scale = tl.maximum(highest, 1e-12) / largest
        rounded = (second / scale).to(values_ptr.dtype.element_ty)
        tl.store(values_ptr + others, rounded, mask=others < size)
    scale = tl.maximum(highest, 1e-12) / largest
    tl.store(scales_ptr + row, scale)
    tl.store(values_ptr + columns, (first / scale).to(values_ptr.dtype.element_ty), mask=columns < size)
