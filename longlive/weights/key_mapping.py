"""Parameter names of released checkpoints and of our layout (diffusers'), both ways, and the merging of LoRA.

Released names are those of Wan 2.1 and LongLive, with the prefixes that their wrappers left: ``model.`` and
``_fsdp_wrapped_module.`` for weights, peft's ``base_model.model.`` for LoRA. Self-Forcing and CausVid keep
theirs in the same way. Nothing here computes with the tensors but ``merged``, so they may be memory-mapped.
"""

from collections.abc import Iterable, Mapping

from torch import Tensor

from longlive.errors import CheckpointError

State = dict[str, Tensor]

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
