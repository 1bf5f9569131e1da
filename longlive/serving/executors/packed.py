"""A tensor as bytes, for the way to another process or machine.

Left to ``multiprocessing``, a tensor would cross as an open file of the process that made it, and be gone
with that one; and Ray takes five times as long over 200 MB of them.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Packed:
    """A tensor that was on the CPU.

    Attributes:
        data: its bytes.
        dtype, shape: of it.
    """

    data: np.ndarray
    dtype: torch.dtype
    shape: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> "Packed":
        """A tensor, packed; on the CPU its bytes are not copied."""
        data = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        return cls(data, tensor.dtype, tuple(tensor.shape))

    def tensor(self) -> Tensor:
        """The tensor, with memory of its own."""
        return torch.from_numpy(self.data.copy()).view(self.dtype).reshape(self.shape)
