"""LoRA pairs that fit the tiny transformer, under peft's endings."""

import torch
from torch import Tensor

from tests.support.tiny_transformer import tiny_transformer


def pairs_for(*layers: str, rank: int = 2) -> dict[str, Tensor]:
    """Random pairs of some layers, given by our names; the same at every call."""
    state, rng = tiny_transformer().state_dict(), torch.Generator().manual_seed(1)
    pairs = {}
    for layer in layers:
        out, into = state[f"{layer}.weight"].flatten(1).shape
        pairs[f"{layer}.lora_A.weight"] = torch.randn(rank, into, generator=rng)
        pairs[f"{layer}.lora_B.weight"] = torch.randn(out, rank, generator=rng)
    return pairs
