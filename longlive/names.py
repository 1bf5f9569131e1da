"""Parameter names of released checkpoints and of our layout (diffusers'), both ways, and the merging of LoRA.

Released names are those of Wan 2.1 and LongLive, with the prefixes that their wrappers left: ``model.`` and
``_fsdp_wrapped_module.`` for weights, peft's ``base_model.model.`` for LoRA. Self-Forcing and CausVid keep
theirs in the same way. Nothing here computes with the tensors but ``merged``, so they may be memory-mapped.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from longlive.errors import CheckpointError

State = dict[str, Tensor]
LoraPair = tuple[Tensor, Tensor]

# What FSDP, torch.compile and activation checkpointing put into names, and what stands before them.
WRAPPERS = ("_fsdp_wrapped_module.", "_orig_mod.", "_checkpoint_wrapped_module.")
PREFIXES = ("base_model.model.", "generator.", "model.", "diffusion_model.")

_WHOLE = {
    "patch_embedding": "patch_embedding",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "head.head": "proj_out",
    "head.modulation": "scale_shift_table",
}
_ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "o": "to_out.0", "norm_q": "norm_q", "norm_k": "norm_k"}
_BLOCK = {
    **{f"self_attn.{released}": f"attn1.{ours}" for released, ours in _ATTENTION.items()},
    **{f"cross_attn.{released}": f"attn2.{ours}" for released, ours in _ATTENTION.items()},
    "norm3": "norm2",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    "modulation": "scale_shift_table",
}
_UMT5 = {"token_embedding": "shared", "norm": "encoder.final_layer_norm"}
_UMT5_BLOCK = {
    "norm1": "layer.0.layer_norm",
    **{f"attn.{name}": f"layer.0.SelfAttention.{name}" for name in "qkvo"},
    "pos_embedding.embedding": "layer.0.SelfAttention.relative_attention_bias",
    "norm2": "layer.1.layer_norm",
    "ffn.gate.0": "layer.1.DenseReluDense.wi_0",
    "ffn.fc1": "layer.1.DenseReluDense.wi_1",
    "ffn.fc2": "layer.1.DenseReluDense.wo",
}


def transformer_from_released(state: Mapping[str, Tensor]) -> State:
    """A released generator, teacher or critic in our names; an unknown key is a CheckpointError."""
    names = {name: unwrapped(name) for name in state}
    return _renamed(state, names, _WHOLE, _BLOCK, ("blocks.", "blocks."))


def transformer_from_any(state: Mapping[str, Tensor]) -> State:
    """A transformer in released names or in diffusers', with any wrapper's prefix, in our names."""
    plain = {unwrapped(name): tensor for name, tensor in state.items()}
    is_ours = any(name.startswith("condition_embedder.") for name in plain)
    return plain if is_ours else transformer_from_released(plain)


def unwrapped(name: str) -> str:
    """A parameter's name without what wrappers put before or into it."""
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def transformer_to_released(state: Mapping[str, Tensor]) -> State:
    """The inverse of ``transformer_from_released``, without prefixes."""
    names = {name: name for name in state}
    return _renamed(state, names, _inverse(_WHOLE), _inverse(_BLOCK), ("blocks.", "blocks."))


def umt5_from_released(state: Mapping[str, Tensor]) -> State:
    """Wan's own umT5 encoder in the names of transformers' ``UMT5EncoderModel``."""
    names = {name: name for name in state}
    return _renamed(state, names, _UMT5, _UMT5_BLOCK, ("blocks.", "encoder.block."))


def check_names(found: Iterable[str], expected: Iterable[str], what: str) -> None:
    """Raise CheckpointError naming the missing and the unexpected keys of ``what``, if there are any."""
    found, expected = set(found), set(expected)
    faults = {"missing": sorted(expected - found), "unexpected": sorted(found - expected)}
    if found != expected:
        listed = "; ".join(f"{kind}: {_some(names)}" for kind, names in faults.items() if names)
        raise CheckpointError(
            f"{what} does not fit the model: {listed}. Is it a checkpoint of this architecture?"
        )


def check_shapes(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> None:
    """Raise CheckpointError naming the first tensor of ``what`` that has another shape than expected."""
    for name, tensor in found.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{what}: {name} has shape {tuple(tensor.shape)}, but the config makes it "
                f"{tuple(expected[name].shape)}. The file belongs to another model."
            )


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


def _renamed(
    state: Mapping[str, Tensor],
    names: Mapping[str, str],
    whole: Mapping[str, str],
    block: Mapping[str, str],
    blocks: tuple[str, str],
) -> State:
    renamed, unknown = {}, []
    for name, plain in names.items():
        new = _translated(plain, whole, block, blocks)
        if new is None:
            unknown.append(name)
        else:
            renamed[new] = state[name]
    if unknown:
        raise CheckpointError(f"unexpected keys: {_some(unknown)}. Is it a checkpoint of this architecture?")
    return renamed


def _translated(
    name: str, whole: Mapping[str, str], block: Mapping[str, str], blocks: tuple[str, str]
) -> str | None:
    """``name`` by the tables: ``whole`` outside the blocks, ``block`` inside; None if they lack it."""
    old, new = blocks
    inside = name.startswith(old)
    number, _, rest = name.removeprefix(old).partition(".") if inside else ("", "", name)
    table = block if inside else whole
    stem, _, leaf = rest.rpartition(".")
    if rest in table:
        return f"{new}{number}.{table[rest]}" if inside else table[rest]
    if leaf not in ("weight", "bias") or stem not in table:
        return None
    return f"{new}{number}.{table[stem]}.{leaf}" if inside else f"{table[stem]}.{leaf}"


def _inverse(table: Mapping[str, str]) -> dict[str, str]:
    return {ours: released for released, ours in table.items()}


def _some(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
