"""What a LoRA changes, by the name of the weight, and merging that."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from longlive.errors import CheckpointError
from longlive.weights.formats.key_mapping import State, first_few


@dataclass(frozen=True)
class LoraPair:
    """What a LoRA adds to one weight: ``scale * up @ down``.

    Attributes:
        down: A, of shape (rank, in); of a convolution (rank, in, ...).
        up: B, of shape (out, rank); of a convolution (out, rank, 1, ...).
        alpha: as the file gives it; None if it does not.
        source: where alpha was found, for people.
        rank_stabilized: alpha is divided by sqrt(rank) rather than by the rank.
    """

    down: Tensor
    up: Tensor
    alpha: float | None = None
    source: str = ""
    rank_stabilized: bool = False

    @property
    def rank(self) -> int:
        """Rows of ``down``."""
        return self.down.shape[0]

    @property
    def scale(self) -> float:
        """Alpha / rank; 1 if the file gives no alpha, as LongLive's does not."""
        if self.alpha is None:
            return 1.0
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilized else self.rank)

    def fits(self, weight: Tensor) -> bool:
        """Whether ``up @ down`` exists and has the shape of ``weight``."""
        if self.down.ndim < 2 or self.up.ndim < 2 or weight.ndim < 2:
            return False
        down, up = self.down.flatten(1), self.up.flatten(1)
        return up.shape[1] == self.rank and (up.shape[0], down.shape[1]) == weight.flatten(1).shape

    def merged(self, weight: Tensor, scale: float | None = None, strength: float = 1.0) -> Tensor:
        """``weight + strength * scale * up @ down`` in float32; ``scale`` is the pair's own if None."""
        down, up = (half.to(weight.device, torch.float32).flatten(1) for half in (self.down, self.up))
        factor = strength * (self.scale if scale is None else scale)
        return torch.addmm(weight.float().flatten(1), up, down, alpha=factor).view(weight.shape)


@dataclass(frozen=True)
class WeightDifference:
    """A whole difference that a file adds to one weight or bias, beside its pairs.

    Attributes:
        difference: of the weight's shape.
    """

    difference: Tensor

    def fits(self, weight: Tensor) -> bool:
        """Whether it has the shape of ``weight``."""
        return self.difference.shape == weight.shape

    def merged(self, weight: Tensor, scale: float | None = None, strength: float = 1.0) -> Tensor:
        """``weight + strength * scale * difference`` in float32; ``scale`` is 1 if None."""
        difference = self.difference.to(weight.device, torch.float32)
        return torch.add(weight.float(), difference, alpha=strength * (1.0 if scale is None else scale))


class Lora(dict[str, LoraPair | WeightDifference]):
    """What is changed, by our name of the weight.

    Attributes:
        about: which of several LoRAs of its file it is, for people; empty if the file holds no other.
    """

    about: str = ""


def describe_lora(lora: Lora, scale: float | None = None, *, name: str = "") -> str:
    """What a LoRA changes and how strongly, in one line for people.

    Args:
        lora: the changes.
        scale: the one given instead of each pair's own.
        name: of the LoRA, with its strength.
    """
    pairs = [change for change in lora.values() if isinstance(change, LoraPair)]
    kinds = Counter((pair.rank, pair.alpha, pair.source, pair.scale) for pair in pairs)
    listed = [_describe_kind(count, *kind, given=scale) for kind, count in kinds.most_common(4)]
    if len(kinds) > 4:
        scales = [pair.scale for pair in pairs]
        listed.append(f"and {len(kinds) - 4} other kinds (scales {min(scales):g} to {max(scales):g})")
    whole = len(lora) - len(pairs)
    if whole:
        listed.append(f"{whole} whole {'difference' if whole == 1 else 'differences'} of weights")
    if lora.about:
        listed.append(lora.about)
    return f"LoRA{f' {name}' * bool(name)}: " + "; ".join(listed)


def _describe_kind(
    count: int, rank: int, alpha: float | None, source: str, scale: float, *, given: float | None
) -> str:
    pairs = f"{count} {'pair' if count == 1 else 'pairs'} of rank {rank}"
    found = "no alpha is stated" if alpha is None else f"alpha {alpha:g} ({source})"
    if given is not None:
        return f"{pairs}, {found}: scale {given:g} as given"
    assumed = ", taken as alpha = rank; --lora-scale changes it" if alpha is None else ""
    return f"{pairs}, {found}: scale {scale:g}{assumed}"


def check_lora(lora: Lora, state: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError naming the changes whose weight ``state`` lacks or has in another shape."""
    unknown = [name for name in lora if name not in state]
    if unknown:
        raise CheckpointError(
            f"the LoRA changes {first_few(unknown)}, which the model lacks. Is it for this model?"
        )
    unfit = [name for name, pair in lora.items() if not pair.fits(state[name])]
    if unfit:
        raise CheckpointError(f"the LoRA does not fit the shape of {first_few(unfit)}. Is it for this model?")


def merge_lora(state: Mapping[str, Tensor], lora: Lora, scale: float | None = None) -> State:
    """Add every change to its weight, computed in float32; each weight keeps its dtype.

    Args:
        state: a transformer in our names.
        lora: its changes.
        scale: of all changes; None: each one's own.

    Raises:
        CheckpointError: as ``check_lora``.
    """
    check_lora(lora, state)
    return dict(state) | {
        name: merge_pair(state[name], pair, scale).to(state[name].dtype) for name, pair in lora.items()
    }


def merge_pair(
    weight: Tensor, change: LoraPair | WeightDifference, scale: float | None = None, strength: float = 1.0
) -> Tensor:
    """A weight with ``strength`` times one change of a LoRA added, in float32.

    ``scale`` is the change's own if None.
    """
    return change.merged(weight, scale, strength)
