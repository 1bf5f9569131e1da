"""Rotary positions over time, rows and columns (RoFormer, arXiv:2104.09864), split as in Wan 2.1."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

THETA = 10000.0


class Rope(nn.Module):
    """Tables of unit complex numbers, one row per position on each axis.

    A head's channels are taken in neighbouring pairs; of its D channels, rows and columns get 2 * (D // 6)
    each and time the rest. Angles are computed in float64 and kept as complex64.
    """

    def __init__(self, head_dim: int, num_positions: int) -> None:
        """Tables for heads of ``head_dim`` channels and ``num_positions`` positions on each axis."""
        super().__init__()
        self.num_positions = num_positions
        space = 2 * (head_dim // 6)
        for name, size in (("time", head_dim - 2 * space), ("rows", space), ("columns", space)):
            # Kept as bits, so that ``module.to(torch.bfloat16)`` cannot round the angles, and on the CPU even
            # under ``torch.device("meta")``, since no checkpoint holds them.
            self.register_buffer(name, _angles_table(size, num_positions).view(torch.int32), persistent=False)

    def rotation(self, positions: Sequence[int], rows: int, columns: int) -> Tensor:
        """The rotation of each token of latents at ``positions`` in time.

        Args:
            positions: whole numbers below ``num_positions``; only slices are read, so a device never waits.
            rows, columns: tokens of a latent frame.

        Returns:
            complex64 (len(positions) * rows * columns, 1, D / 2), tokens in order time, row, column.

        Raises:
            ValueError: if a position lies beyond the table.
        """
        highest = max(*positions, rows - 1, columns - 1)
        if highest >= self.num_positions:
            raise ValueError(f"position {highest} lies beyond the table of {self.num_positions}")
        grid = (len(positions), rows, columns, -1)
        time = torch.cat([self._table("time", first, last) for first, last in runs(positions)])
        parts = (
            time[:, None, None].expand(grid),
            self._table("rows", 0, rows)[None, :, None].expand(grid),
            self._table("columns", 0, columns)[None, None].expand(grid),
        )
        return torch.view_as_complex(torch.cat(parts, dim=3).flatten(0, 2).unflatten(-1, (1, -1, 2)))

    def _table(self, name: str, first: int, last: int) -> Tensor:
        table: Tensor = getattr(self, name)
        return table[first:last].view(torch.float32)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn the channel pairs of ``x`` (B, L, N, D) by ``rotation`` (L, 1, D / 2), computed in float32."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotation).flatten(-2).type_as(x)


def runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Split whole numbers into (first, last + 1) stretches that count upwards one by one."""
    breaks = [i for i, (a, b) in enumerate(pairwise(numbers), start=1) if b != a + 1]
    return [(numbers[i], numbers[i] + j - i) for i, j in pairwise([0, *breaks, len(numbers)])]


def _angles_table(size: int, num_positions: int) -> Tensor:
    """float32 (num_positions, size): cosine and sine of each pair's angle, in turn."""
    steps = torch.arange(0, size, 2, dtype=torch.float64, device="cpu") / size
    angles = torch.arange(num_positions, dtype=torch.float64, device="cpu").outer(THETA**-steps)
    return torch.stack((angles.cos(), angles.sin()), dim=-1).flatten(1).float()
