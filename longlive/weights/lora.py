"""LoRA files: pairs by weight name, and merging them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from longlive.errors import CheckpointError
from longlive.weights.key_mapping import _BLOCK, _WHOLE, State, _some, _translated, unwrapped

LoraPair = tuple[Tensor, Tensor]


def merge_lora(state: Mapping[str, Tensor], lora: Mapping[str, Tensor], scale: float) -> State:
    """``weight + scale * B @ A`` for every LoRA pair, computed in float32, in the dtype of each weight.

    Args:
        state: a transformer in our names.
        lora: peft's names around released or our own ones; A is (rank, in), B is (out, rank).
        scale: alpha / rank.

    Raises:
        CheckpointError: naming the keys that are not LoRA, lack their other half, or have no weight to go to.
    """
    pairs = lora_pairs(state, lora)
    return dict(state) | {
        name: merged(state[name], pair, scale).to(state[name].dtype) for name, pair in pairs.items()
    }


def lora_pairs(state: Mapping[str, Tensor], lora: Mapping[str, Tensor]) -> dict[str, LoraPair]:
    """The halves (A, B) of a LoRA by the name of their weight; arguments and errors as for ``merge_lora``."""
    pairs: dict[str, dict[str, Tensor]] = {}
    for name, tensor in lora.items():
        target, kind, rest = name.replace(".default.weight", ".weight").rpartition(".lora_")
        if not kind or rest not in ("A.weight", "B.weight"):
            raise CheckpointError(f"{name!r} is no LoRA key: expected ….lora_A.weight or ….lora_B.weight.")
        pairs.setdefault(_lora_target(target), {})[rest[0]] = tensor
    halves = [name for name, pair in pairs.items() if len(pair) != 2]
    if halves:
        raise CheckpointError(f"the LoRA holds only one of A and B for {_some(halves)}. Is the file whole?")
    unknown = [name for name in pairs if name not in state]
    if unknown:
        raise CheckpointError(
            f"the LoRA changes {_some(unknown)}, which the model lacks. Is it for this model?"
        )
    unfit = [
        name
        for name, pair in pairs.items()
        if (pair["B"].shape[0], pair["A"].shape[1], pair["B"].shape[1])
        != (*state[name].shape, pair["A"].shape[0])
    ]
    if unfit:
        raise CheckpointError(f"the LoRA does not fit the shape of {_some(unfit)}. Is it for this model?")
    return {name: (pair["A"], pair["B"]) for name, pair in pairs.items()}


def merged(weight: Tensor, pair: LoraPair, scale: float) -> Tensor:
    """``weight + scale * B @ A`` in float32."""
    down, up = (half.to(weight.device, torch.float32) for half in pair)
    return torch.addmm(weight.float(), up, down, alpha=scale)


def _lora_target(name: str) -> str:
    """Our name of the weight that a LoRA pair belongs to."""
    plain = unwrapped(name)
    ours = _translated(f"{plain}.weight", _WHOLE, _BLOCK, ("blocks.", "blocks."))
    return ours or f"{plain}.weight"
