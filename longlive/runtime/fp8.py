"""Linear layers with weights and inputs in 8-bit floats (E4M3), for GPUs that have products of them."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

FP8 = torch.float8_e4m3fn
_MAX = torch.finfo(FP8).max


class Fp8Linear(nn.Module):
    """A linear layer whose weight has a scale per output channel, and its inputs one per row at each call.

    Elsewhere than on a GPU the same rounded numbers are multiplied in float32: slowly, for tests.
    """

    def __init__(self, weight: Tensor, scales: Tensor, bias: Tensor) -> None:
        """Of a weight (out, in) in 8-bit floats, its scales (1, out) in float32, and a bias (out,)."""
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.scales = nn.Parameter(scales, requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)

    @classmethod
    def of(cls, linear: nn.Linear) -> Self:
        """The same layer as ``linear``, within rounding."""
        values, scales = round_rows(linear.weight.detach())
        return cls(values, scales.view(1, -1), linear.bias.detach())

    @classmethod
    def joined(cls, layers: Sequence["Fp8Linear"]) -> Self:
        """Layers of the same input side by side, as one; they become views of it."""
        whole = cls(
            torch.cat([layer.weight.view(torch.uint8) for layer in layers]).view(FP8),
            torch.cat([layer.scales for layer in layers], 1),
            torch.cat([layer.bias for layer in layers]),
        )
        end = 0
        for layer in layers:
            begun, end = end, end + len(layer.bias)
            weight, scales, bias = whole._rows(begun, end)
            layer.weight.data, layer.scales.data, layer.bias.data = weight, scales, bias
        return whole

    def rows(self, first: int) -> "Fp8Linear":
        """The layer of the output channels from ``first`` on; it shares the memory."""
        return Fp8Linear(*self._rows(first, len(self.bias)))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        values, scales = round_rows(x.flatten(0, -2))
        return self.product(values, scales).view(*x.shape[:-1], -1)

    def product(self, values: Tensor, scales: Tensor) -> Tensor:
        """Rows (L, in) in 8-bit floats, times their scales (L, 1) in float32 -> (L, out)."""
        if not values.is_cuda:
            exact = (values.float() * scales) @ (self.weight.float() * self.scales.t()).t()
            return (exact + self.bias).type_as(self.bias)
        # The fast accumulation of Hopper's tensor cores; its error is far below that of the rounding.
        return torch._scaled_mm(
            values,
            self.weight.t(),
            scale_a=scales,
            scale_b=self.scales,
            bias=self.bias,
            out_dtype=self.bias.dtype,
            use_fast_accum=True,
        )

    def _rows(self, first: int, end: int) -> tuple[Tensor, Tensor, Tensor]:
        return self.weight.data[first:end], self.scales.data[:, first:end], self.bias.data[first:end]


def round_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """(L, K) -> the same in 8-bit floats, and each row's scale (L, 1) in float32, to multiply it by."""
    numbers = x.float()
    scales = numbers.abs().amax(1, keepdim=True).clamp_min(1e-12) / _MAX
    return (numbers / scales).to(FP8), scales
