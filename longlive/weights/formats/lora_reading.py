"""LoRA files -> what they change, by the name of the weight; ``lora.py`` merges that.

Read are the pairs of peft, diffusers, kohya and musubi-tuner, ComfyUI and LightX2V, DiffSynth, diffusion-pipe
and our training, around released names or ours, with any prefix. A new format needs an entry in ``_HALF`` or
``_DIFFERENCES`` if it names its tensors differently, one in ``lora_alpha.py`` if it keeps alpha elsewhere.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from longlive.errors import CheckpointError
from longlive.weights.formats.key_mapping import dotted_name, first_few, locate, strip_wrappers
from longlive.weights.formats.lora import Lora, LoraPair, WeightDifference, check_lora
from longlive.weights.formats.lora_alpha import ADAPTER_CONFIG, StatedAlpha, stated_alpha
from longlive.weights.formats.lora_files import LoraFile
from longlive.weights.formats.weight_files import check_finite, dicts_of_tensors, open_weights, read_metadata
from longlive.weights.formats.weight_parts import parts_of

# The halves of a pair after the layer's name: lora_A.weight, lora_A.default.weight (peft's named adapters),
# lora_down.weight, lora.down.weight.
_HALF = re.compile(r"\.lora(?:_linear_layer)?[._](A|B|down|up)(?:\.(?!weight$|bias$)(\w+))?(?:\.weight)?$")
_HALVES = {"A": "down", "down": "down", "B": "up", "up": "up"}
_ALPHA = re.compile(r"\.(?:lora_)?alpha$")
# Whole differences beside the pairs, by what stands in their place in the weight's name (ComfyUI's).
_DIFFERENCES = {".diff": (".weight", ""), ".diff_b": (".bias",), ".diff_m": (".modulation",)}
# What is no LoRA, or more than one, by what its keys have in them.
_UNREAD = {
    r"lora_magnitude_vector|\.dora_scale$": "DoRA, which also changes the length of each row",
    r"\.lora_[AB](\.\w+)?\.bias$": "a LoRA with biases (peft's lora_bias)",
    r"\.lora_mid\.": "LoCon in Tucker's form (lora_mid)",
    r"\.hada_w": "LoHa (LyCORIS)",
    r"\.lokr_w": "LoKr (LyCORIS)",
    r"\.oft_|\.oft_r\.|\.boft_": "OFT or BOFT",
    r"\.ia3_l|\.on_input$": "(IA)^3",
    r"\.vera_lambda": "VeRA",
    r"\.[ab][12]\.weight$": "GLoRA",
    r"\.processor\.": "diffusers' attention processors of before 2023-10",
    r"\.set_weight$|\.reshape_weight$": "ComfyUI's replaced weights",
}


def read_lora(path: str | Path) -> Lora:
    """Read a LoRA, memory-mapped, with the strength that it states.

    Args:
        path: safetensors or of ``torch.save``; a file, its folder, parts or their index.

    Raises:
        CheckpointError: if the file is missing or broken, holds no LoRA, several of them, only one half of a
            pair, or a format that is not read.
    """
    path = Path(path)
    try:
        file, stored = parts_of(path)[0], open_weights(path)
        tensors, numbers, about = _only_lora(stored, path)
        lora = pair_up(tensors, stated=stated_alpha(file, read_metadata(file), numbers))
        lora.about = about
        return lora
    except CheckpointError as error:
        raise CheckpointError(f"{path} holds no readable LoRA: {error}") from error


def open_lora(file: LoraFile, state: Mapping[str, Tensor]) -> Lora:
    """What a LoRA changes of a transformer in our names; CheckpointError names what does not fit."""
    lora = read_lora(file.path)
    try:
        check_lora(lora, state)
    except CheckpointError as error:
        raise CheckpointError(f"{file.path}: {error}") from error
    return lora


def lora_files(path: Path) -> list[Path]:
    """The files that a LoRA is read from: those of the pairs, and peft's config beside them."""
    files = parts_of(path)
    config = files[0].with_name(ADAPTER_CONFIG)
    return [*files, config] if config.is_file() else files


def pair_up(
    tensors: Mapping[str, Tensor], *, alpha: float | None = None, stated: StatedAlpha | None = None
) -> Lora:
    """The changes of a LoRA by the weight's name.

    Args:
        tensors: halves of pairs, their ``.alpha`` entries, and differences.
        alpha: of all pairs that have no entry of their own, if it is known.
        stated: the same, pair by pair.

    Raises:
        CheckpointError: naming the keys that are not LoRA, or lack their other half, or the format that is
            not read; when there are several LoRAs for one weight, or numbers that are not finite.
    """
    _refuse_unread(tensors)
    stated = stated or StatedAlpha(alpha, "given")
    layers: dict[tuple[str, str], _Layer] = {}
    lora = Lora()
    for name, tensor in tensors.items():
        if not _add_difference(lora, name, tensor):
            _add_part(layers, name, tensor)
    _check_single([layer.target for layer in layers.values()])
    _check_whole(layers)
    lora.update({layer.target: layer.pair(stated) for layer in layers.values()})
    return lora


@dataclass
class _Layer:
    """What was found of one layer's pair.

    Attributes:
        name: of the layer in the file, without prefix.
        target: our name of its weight.
        parts: its halves by ``down`` and ``up``, and its ``alpha``.
    """

    name: str
    target: str
    parts: dict[str, Tensor] = field(default_factory=dict)

    def pair(self, stated: StatedAlpha) -> LoraPair:
        down, up = self.parts["down"], self.parts["up"]
        if not down.ndim or not down.shape[0]:
            shape = tuple(down.shape)
            raise CheckpointError(
                f"{self.name}: A has shape {shape}, but (rank, in) is expected, rank above 0."
            )
        for half, tensor in (("A", down), ("B", up)):
            check_finite(tensor, f"{self.name}, {half}")
        if "alpha" in self.parts:
            alpha = self.parts["alpha"].float().flatten()
            if alpha.numel() != 1 or not alpha.isfinite().all():
                raise CheckpointError(f"{self.name}.alpha is {alpha.tolist()}, but it must be one number.")
            return LoraPair(down, up, alpha.item(), "its .alpha entry")
        alpha_of_all = stated.alpha_of(self.name, down.shape[0])
        return LoraPair(down, up, alpha_of_all, stated.source, stated.rank_stabilized)


def _add_part(layers: dict[tuple[str, str], _Layer], name: str, tensor: Tensor) -> None:
    """Put a half or an alpha to its layer; layers are kept apart by their prefix and peft's adapter."""
    half, alpha = _HALF.search(name), _ALPHA.search(name)
    found = half or alpha
    if found is None:
        raise CheckpointError(
            f"{name!r} is no LoRA key: expected one that ends in .lora_A.weight, .lora_B.weight, "
            ".lora_down.weight, .lora_up.weight or .alpha."
        )
    stem = dotted_name(name[: found.start()])
    located = locate(f"{stem}.weight")
    target = located.name if located else f"{strip_wrappers(stem)}.weight"
    layer = strip_wrappers(stem)[len(located.prefix) :] if located else stem
    key = (stem, half[2] or "" if half else "")
    part = _HALVES[half[1]] if half else "alpha"
    layers.setdefault(key, _Layer(layer, target)).parts[part] = tensor


def _add_difference(lora: Lora, name: str, tensor: Tensor) -> bool:
    """Take a whole difference of a weight; False if the key is none."""
    stem, dot, ending = name.rpartition(".")
    for weight in _DIFFERENCES.get(dot + ending, ()):
        located = locate(dotted_name(stem) + weight)
        if located is not None:
            check_finite(tensor, name)
            lora[located.name] = WeightDifference(tensor)
            return True
    return False


def _check_single(targets: list[str]) -> None:
    twice = [name for name, count in Counter(targets).items() if count > 1]
    if twice:
        raise CheckpointError(
            f"there are several LoRAs for {first_few(twice)}: of several models (such as Wan 2.2's two) or "
            "several of peft's adapters. Give a file of one."
        )


def _check_whole(layers: Mapping[tuple[str, str], _Layer]) -> None:
    single = [layer.target for layer in layers.values() if not {"down", "up"} <= set(layer.parts)]
    if single:
        raise CheckpointError(
            f"the LoRA holds only one of A and B for {first_few(single)}. Is the file complete?"
        )


def _refuse_unread(names: Mapping[str, Any]) -> None:
    for pattern, about in _UNREAD.items():
        found = next((name for name in names if re.search(pattern, name)), None)
        if found:
            raise CheckpointError(
                f"{found} belongs to {about}, which is not read. Merge it into the base model with the "
                "program that made it, and give the result as the checkpoint."
            )


def _only_lora(stored: Mapping[str, Any], path: Path) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """The tensors of a file's LoRA (the generator's if it has others), what stands beside their dict, and
    which was taken of several, for people."""
    found = {where: tensors for where, tensors in dicts_of_tensors(stored) if _has_lora(tensors)}
    if not found:
        _refuse_unread({name: None for _, tensors in dicts_of_tensors(stored) for name in tensors})
        raise CheckpointError(
            "no key has .lora_A, .lora_down or .lora.down in it. Give the file of a LoRA; a whole model is "
            "given as a checkpoint."
        )
    generators = [where for where in found if "generator" in where] if len(found) > 1 else list(found)
    if len(generators) != 1:
        raise CheckpointError(f"it holds several LoRAs: {_listed(found)}. Give a file of one.")
    others = [where for where in found if where not in generators]
    about = f"{_listed(generators)} is taken, the file also holds {_listed(others)}" if others else ""
    tensors = {n: t for n, t in found[generators[0]].items() if "." in n or t.numel() != 1}
    return tensors, {key: value for key, value in stored.items() if not isinstance(value, Tensor)}, about


def _listed(places: Iterable[str]) -> str:
    return ", ".join(where.strip(".") or "the top" for where in places)


def _has_lora(tensors: Mapping[str, Tensor]) -> bool:
    return any(_HALF.search(name) for name in tensors)
