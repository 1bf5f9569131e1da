"""LoRA files -> pairs by the name of the weight that they change, and merging them.

A new format needs an entry in ``HALVES``, if it names the halves of a pair differently, and a line in
``read_lora`` that finds its alpha; everything after that works on ``LoraPair``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from longlive.errors import CheckpointError
from longlive.weights.key_mapping import State, first_few, strip_wrappers, transformer_name
from longlive.weights.weight_files import read_metadata, read_tensors

# Where the tensors lie in a checkpoint that holds other things as well.
LORA_KEYS = ("generator_lora", "lora", "state_dict")
# How the halves of a pair are named after the weight's own name: peft's.
HALVES = {".lora_A.weight": "down", ".lora_B.weight": "up"}


@dataclass(frozen=True)
class LoraPair:
    """What a LoRA adds to one weight: ``scale * up @ down``.

    Attributes:
        down: A, of shape (rank, in).
        up: B, of shape (out, rank).
        alpha: as the file gives it; None if it does not.
    """

    down: Tensor
    up: Tensor
    alpha: float | None = None

    @property
    def rank(self) -> int:
        """Rows of ``down``."""
        return self.down.shape[0]

    @property
    def scale(self) -> float:
        """Alpha / rank; 1 if the file gives no alpha, as LongLive's does not."""
        return 1.0 if self.alpha is None else self.alpha / self.rank

    def fits(self, weight: Tensor) -> bool:
        """Whether ``up @ down`` exists and has the shape of ``weight``."""
        if self.down.ndim != 2 or self.up.ndim != 2:
            return False
        return self.up.shape[1] == self.rank and (self.up.shape[0], self.down.shape[1]) == weight.shape


Lora = dict[str, LoraPair]
"""Pairs by our name of the weight that each belongs to."""


def read_lora(path: str | Path) -> Lora:
    """Read a LoRA, memory-mapped.

    Args:
        path: safetensors by peft or by our training, or the released ``.pt``; names around released weights
            or around ours.

    Raises:
        CheckpointError: if the file is missing or broken, holds no LoRA, or only one half of a pair.
    """
    path = Path(path)
    try:
        tensors, alpha = read_tensors(path, LORA_KEYS), read_metadata(path).get("alpha")
    except CheckpointError as error:
        raise CheckpointError(f"{path} holds no readable LoRA: {error}") from error
    if not any(half in name for name in tensors for half in (".lora_A", ".lora_B")):
        raise CheckpointError(f"{path} holds no LoRA: no key has .lora_A in it. Give the file of a LoRA.")
    return pair_up(tensors, alpha=None if alpha is None else float(alpha))


def pair_up(tensors: Mapping[str, Tensor], *, alpha: float | None = None) -> Lora:
    """The halves of each pair by the weight's name; ``alpha`` is that of all pairs, if it is known.

    Raises:
        CheckpointError: naming the keys that are not LoRA, or lack their other half.
    """
    halves: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        target, half = _split(name)
        halves.setdefault(target, {})[half] = tensor
    single = [name for name, found in halves.items() if len(found) != 2]
    if single:
        raise CheckpointError(
            f"the LoRA holds only one of A and B for {first_few(single)}. Is the file complete?"
        )
    return {name: LoraPair(found["down"], found["up"], alpha) for name, found in halves.items()}


def check_lora(lora: Lora, state: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError naming the pairs whose weight ``state`` lacks or has in another shape."""
    unknown = [name for name in lora if name not in state]
    if unknown:
        raise CheckpointError(
            f"the LoRA changes {first_few(unknown)}, which the model lacks. Is it for this model?"
        )
    unfit = [name for name, pair in lora.items() if not pair.fits(state[name])]
    if unfit:
        raise CheckpointError(f"the LoRA does not fit the shape of {first_few(unfit)}. Is it for this model?")


def merge_lora(state: Mapping[str, Tensor], lora: Lora, scale: float | None = None) -> State:
    """Add every pair to its weight, computed in float32; each weight keeps its dtype.

    Args:
        state: a transformer in our names.
        lora: its pairs.
        scale: of all pairs; None: each pair's own.

    Raises:
        CheckpointError: as ``check_lora``.
    """
    check_lora(lora, state)
    return dict(state) | {
        name: merge_pair(state[name], pair, scale).to(state[name].dtype) for name, pair in lora.items()
    }


def merge_pair(weight: Tensor, pair: LoraPair, scale: float | None = None) -> Tensor:
    """``weight + scale * up @ down`` in float32; ``scale`` is the pair's own if None."""
    down, up = (half.to(weight.device, torch.float32) for half in (pair.down, pair.up))
    return torch.addmm(weight.float(), up, down, alpha=pair.scale if scale is None else scale)


def _split(name: str) -> tuple[str, str]:
    """Our name of the weight that a LoRA key belongs to, and which half it is."""
    plain = name.replace(".default.weight", ".weight")  # peft's name of its adapter, in memory
    for ending, half in HALVES.items():
        if plain.endswith(ending):
            target = strip_wrappers(plain.removesuffix(ending)) + ".weight"
            return transformer_name(target) or target, half
    raise CheckpointError(f"{name!r} is no LoRA key: expected ….lora_A.weight or ….lora_B.weight.")
