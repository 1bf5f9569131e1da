"""Parameter names of released checkpoints and of our layout (diffusers'), both ways.

Released names are those of Wan 2.1 and LongLive. Whatever stands before a known name is a prefix that a
wrapper or a toolkit left (``model.``, ``module.``, ``diffusion_model.``, ``base_model.model.`` and so on);
``locate`` takes it off. Nothing here computes with the tensors, so they may be memory-mapped.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor

from longlive.errors import CheckpointError

State = dict[str, Tensor]

# What FSDP, torch.compile, activation checkpointing and peft put into the middle of names.
WRAPPERS = ("_fsdp_wrapped_module.", "_orig_mod.", "_checkpoint_wrapped_module.", "base_layer.")

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
_FLAT_WHOLE = {name.replace(".", "_"): name for name in (*_WHOLE, *_WHOLE.values())}
_FLAT_BLOCK = {name.replace(".", "_"): name for name in (*_BLOCK, *_BLOCK.values())}
# What SGF+ puts before the last part of a name, or before the first, in its second set of parameters.
_SECOND_SET = re.compile(r"(^|\.)memory_")
# Formats that are not read, by what their keys have in them, and what to do.
_UNREAD = {
    r"scaled_fp8|scale_weight|weight_scale|scale_input": (
        "8-bit weights with scales beside them, as ComfyUI keeps them. Give the file in bf16 or fp16"
    ),
    r"\.absmax$|quant_map|quant_state": "weights in 4 bits by bitsandbytes. Give the file in bf16 or fp16",
    r"\.(qweight|qzeros|wscales)$": "weights of GPTQ, AWQ or Nunchaku. Give the file in bf16 or fp16",
    r"\.lora_|\.lora\.": "a LoRA. Give the base model as the checkpoint and this file with --lora",
    r"img_emb|k_img|image_embedder|add_k_proj": "an image-to-video model. Give a text-to-video checkpoint",
    r"vace_": "VACE, which takes control videos. Give a plain text-to-video checkpoint",
    r"^(model\.)?(layers|transformer_blocks|double_blocks|down_blocks)\.": (
        "another architecture. Give a checkpoint of the Wan 2.1 1.3B family"
    ),
}
# What the tables name that is a parameter itself, not a layer with a weight and a bias.
_PARAMETERS = ("modulation", "scale_shift_table")
# What makes kohya's blocks those of another model: double_blocks, vace_blocks and so on.
_OTHER_BLOCKS = re.compile(r"(vace|single|double|down|up|mid|input|output|refiner)$")
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


class Located(NamedTuple):
    """A parameter of the transformer under the name that a file gives it.

    Attributes:
        prefix: what stands before the name, such as ``model.``; may be empty.
        name: ours.
    """

    prefix: str
    name: str


def locate(name: str) -> Located | None:
    """Find a transformer's parameter in a name with any prefix; None if there is none.

    Released names and diffusers' are known, with or without the marks of wrappers.
    """
    name, start = strip_wrappers(name), 0
    while True:
        ours = transformer_name(name[start:])
        if ours is not None:
            return Located(name[:start], ours)
        start = name.find(".", start) + 1
        if not start:
            return None


def locate_in_second_set(name: str) -> Located | None:
    """``locate`` for SGF+'s second set of parameters, such as ``self_attn.q.memory_weight``."""
    plain = _SECOND_SET.sub(r"\1", name, count=1)
    return None if plain == name else locate(plain)


def strip_wrappers(name: str) -> str:
    """A parameter's name without what wrappers put into it."""
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def dotted_name(name: str) -> str:
    """kohya's name of a layer (``lora_unet_blocks_0_self_attn_q``) with dots where they belong.

    After kohya's prefix some dots may be there already (``lora_unet_blocks_0.self_attn.q``).

    What stands before the layer becomes a prefix; a name that is no layer's is returned as it is.
    """
    if "." in name and not name.startswith("lora_unet_"):
        return name
    given, name = name, name.replace(".", "_")
    inside = re.fullmatch(r"(?:(.*?)_+)?blocks_(\d+)_(.+)", name)
    if inside and inside[3] in _FLAT_BLOCK and not _OTHER_BLOCKS.search(inside[1] or ""):
        return f"{inside[1] or ''}.blocks.{inside[2]}.{_FLAT_BLOCK[inside[3]]}".lstrip(".")
    for flat, dotted in _FLAT_WHOLE.items():
        if name == flat or name.endswith(f"_{flat}"):
            return f"{name.removesuffix(flat).strip('_')}.{dotted}".lstrip(".")
    return given


def transformer_from_released(state: Mapping[str, Tensor]) -> State:
    """A generator, teacher or critic, in any of the names that ``locate`` knows, in ours.

    Raises:
        CheckpointError: names the keys that are not of the transformer, and the format that has such keys.
    """
    found = {name: locate(name) for name in state}
    check_known([name for name, located in found.items() if located is None])
    return {located.name: state[name] for name, located in found.items() if located is not None}


def transformer_to_released(state: Mapping[str, Tensor]) -> State:
    """The inverse of ``transformer_from_released``, without prefixes."""
    names = {name: name for name in state}
    return _rename(state, names, _inverse(_WHOLE), _inverse(_BLOCK), ("blocks.", "blocks."))


def transformer_name(name: str) -> str | None:
    """Our name of one parameter, by its released name or ours, without prefix; None if there is none."""
    blocks = ("blocks.", "blocks.")
    ours = _translate(name, _WHOLE, _BLOCK, blocks)
    is_ours = ours is None and _translate(name, _inverse(_WHOLE), _inverse(_BLOCK), blocks) is not None
    return name if is_ours else ours


def umt5_from_released(state: Mapping[str, Tensor]) -> State:
    """Wan's own umT5 encoder in the names of transformers' ``UMT5EncoderModel``."""
    names = {name: name for name in state}
    return _rename(state, names, _UMT5, _UMT5_BLOCK, ("blocks.", "encoder.block."))


def check_known(unknown: list[str]) -> None:
    """Raise CheckpointError if there are any ``unknown`` keys, naming their format if it is recognised."""
    if unknown:
        raise CheckpointError(f"unexpected keys: {first_few(unknown)}. {unread_format(unknown)}")


def unread_format(names: Iterable[str]) -> str:
    """The format that is not read but has such keys, and what to do; a question if it is not recognised."""
    names = list(names)
    for pattern, about in _UNREAD.items():
        if any(re.search(pattern, name) for name in names):
            return f"Not read: {about}."
    return "Is it a checkpoint of this architecture?"


def check_names(found: Iterable[str], expected: Iterable[str], what: str) -> None:
    """Raise CheckpointError naming the missing and the unexpected keys of ``what``, if there are any."""
    found, expected = set(found), set(expected)
    faults = {"missing": sorted(expected - found), "unexpected": sorted(found - expected)}
    if found != expected:
        listed = "; ".join(f"{kind}: {first_few(names)}" for kind, names in faults.items() if names)
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


def _rename(
    state: Mapping[str, Tensor],
    names: Mapping[str, str],
    whole: Mapping[str, str],
    block: Mapping[str, str],
    blocks: tuple[str, str],
) -> State:
    renamed, unknown = {}, []
    for name, plain in names.items():
        new = _translate(plain, whole, block, blocks)
        if new is None:
            unknown.append(name)
        else:
            renamed[new] = state[name]
    check_known(unknown)
    return renamed


def _translate(
    name: str, whole: Mapping[str, str], block: Mapping[str, str], blocks: tuple[str, str]
) -> str | None:
    """Look ``name`` up: in ``whole`` outside the blocks, in ``block`` inside; None if it is in neither."""
    old, new = blocks
    inside = name.startswith(old)
    number, _, rest = name.removeprefix(old).partition(".") if inside else ("", "", name)
    table = block if inside else whole
    stem, _, leaf = rest.rpartition(".")
    if leaf in _PARAMETERS and rest in table:
        return f"{new}{number}.{table[rest]}" if inside else table[rest]
    if leaf not in ("weight", "bias") or stem not in table or stem.rpartition(".")[2] in _PARAMETERS:
        return None
    return f"{new}{number}.{table[stem]}.{leaf}" if inside else f"{table[stem]}.{leaf}"


def _inverse(table: Mapping[str, str]) -> dict[str, str]:
    return {ours: released for released, ours in table.items()}


def first_few(names: list[str]) -> str:
    """The first five names, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
