"""Which way of running a model fits into a device's memory; decided before anything is loaded.

Published for the 1.3B model at 832x480 in bfloat16: 7.1 GiB with a tiny VAE and without a resident text
encoder, which is 10.6 GiB more.
"""

import dataclasses
import gc
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil
import torch

from longlive.config import Auto, CacheName, DecoderName, Quantization, TextPlacement
from longlive.errors import FitError
from longlive.runtime.allocator import trim_heap
from longlive.runtime.footprint import ModelFootprint

GB = 10**9
# What a CUDA context and the libraries' workspaces take.
CONTEXT_BYTES = int(0.8 * GB)
# The share of free memory that may be planned with: allocators waste some of it.
USABLE = 0.95

_TEXT_PHRASES: dict[TextPlacement, str] = {
    "resident": "text encoder on the device",
    "streamed": "text encoder brought in for each prompt",
    "cpu": "text encoder on the CPU",
}


@dataclass(frozen=True)
class Preset:
    """A way to run a model; of several, the first that fits is taken.

    Attributes:
        text: placement of the text encoder's weights.
        decoder: ``auto`` until a model is known.
        quantize: rounding of the products of the blocks.
        cache: storage of the keys and values.
        streams: viewers at once that there must be memory for.
    """

    text: TextPlacement
    decoder: DecoderName | Auto = "auto"
    quantize: Quantization = "off"
    cache: CacheName = "full"
    streams: int = 1

    def __str__(self) -> str:
        """The preset as a phrase for log lines and errors."""
        parts = [f"{self.decoder} decoder", _TEXT_PHRASES[self.text]]
        parts += [f"{self.quantize} products"] * (self.quantize != "off")
        parts += [f"{self.cache} keys and values"] * (self.cache != "full")
        return ", ".join(parts)


PRESETS = (
    Preset("resident", streams=4),  # 80 GB
    Preset("resident", streams=3),  # 48 GB
    Preset("resident"),  # 24 GB
    Preset("streamed", streams=2),  # 16 GB
    Preset("streamed", decoder="tiny"),  # 12 GB
    Preset("streamed", decoder="tiny", cache="fp8"),  # 8 GB
)
"""From the largest device to the smallest; beside each, the size of the devices that it is meant for."""


# Of the blocks' weights; FP8 leaves the products of dim by dim channels as they are.
_SHARE_IN_8_BITS: dict[Quantization, float] = {"off": 0.0, "int8": 1.0, "fp8": 0.74}


@dataclass(frozen=True)
class MemoryPlan:
    """A preset that fits, and by how much.

    Attributes:
        preset: the one to use.
        needed, free: bytes that it takes, and that there are.
        smaller: presets that take less, the largest first; for when it does not fit after all.
    """

    preset: Preset
    needed: int
    free: int
    smaller: tuple[Preset, ...] = ()

    def __str__(self) -> str:
        """The plan as a line for people."""
        return f"fits: {self.preset}: needs {_gb(self.needed)} of {_gb(self.free)} GB"


def needed_bytes(model: ModelFootprint, preset: Preset, *, context: int = CONTEXT_BYTES) -> int:
    """What a preset takes of a device's memory; of what does not happen at once, only the largest counts."""
    saved = _SHARE_IN_8_BITS[preset.quantize] * (1 - 1 / model.itemsize)
    blocks = model.blocks - int(saved * model.blocks)
    cache = model.cache if preset.cache == "full" else model.cache // model.itemsize
    resident = model.text if preset.text == "resident" else 0
    streamed = 2 * model.text_block if preset.text == "streamed" else 0
    weights = blocks + model.rest + resident + model.decoders[preset.decoder]
    stream = cache + model.decoder_state[preset.decoder]
    work = max(model.work, model.decoder_work[preset.decoder], streamed)
    return context + weights + preset.streams * stream + work


def presets_for(
    model: ModelFootprint, options: Mapping[str, str], presets: Sequence[Preset] = PRESETS
) -> list[Preset]:
    """The presets, changed to what people asked for, each once.

    Args:
        model: its decoders limit the presets.
        options: values for fields of Preset; ``auto``, ``off`` and ``full`` leave the choice to the preset.
        presets: from the largest to the smallest.
    """
    chosen = {name: value for name, value in options.items() if value not in ("auto", "off", "full")}
    default_decoder: DecoderName = "tiny" if "tiny" in model.decoders else "wan"
    found: dict[Preset, None] = {}
    for preset in presets:
        preset = dataclasses.replace(preset, **chosen)  # type: ignore[arg-type]
        if preset.decoder == "auto" or ("decoder" not in chosen and preset.decoder not in model.decoders):
            preset = dataclasses.replace(preset, decoder=default_decoder)
        found[preset] = None
    return list(found)


def plan_memory(
    model: ModelFootprint, free: int, presets: Sequence[Preset], *, context: int = CONTEXT_BYTES
) -> MemoryPlan:
    """Choose the first preset that fits into ``free`` bytes.

    Raises:
        FitError: if none does; says what the smallest would need.
    """
    needs = {preset: needed_bytes(model, preset, context=context) for preset in presets}
    chosen = next((preset for preset in presets if needs[preset] <= USABLE * free), None)
    if chosen is None:
        least = min(presets, key=needs.__getitem__)
        raise FitError(
            f"The model does not fit: it needs {_gb(needs[least] / USABLE)} GB ({least}), but "
            f"{_gb(free)} GB are free. Close other programs, or take a larger device or a smaller model."
        )
    smaller = [preset for preset in presets if needs[preset] < needs[chosen]]
    smaller.sort(key=needs.__getitem__, reverse=True)
    return MemoryPlan(chosen, needs[chosen], free, tuple(smaller))


def divide_memory(
    models: Mapping[str, tuple[ModelFootprint, Sequence[Preset]]],
    free: int,
    *,
    context: int = CONTEXT_BYTES,
) -> dict[str, int] | None:
    """How many of the free bytes each of several models is planned with, so that all fit together.

    Args:
        models: each with its presets, from the largest to the smallest, by its name. All are run by presets
            of the same place in their lists: the first by which all fit.
        free, context: as for ``plan_memory``.

    Returns:
        the bytes by name, as ``plan_memory`` takes them; None if the models do not fit together.
    """
    for place in range(max(len(presets) for _, presets in models.values())):
        needs = {
            name: needed_bytes(model, presets[min(place, len(presets) - 1)], context=context)
            for name, (model, presets) in models.items()
        }
        if sum(needs.values()) <= USABLE * free:
            return {name: math.ceil(need / USABLE) + 1 for name, need in needs.items()}
    return None


def free_memory(device: torch.device) -> int:
    """Bytes of memory that are free on a device; on a CPU, those that the machine can give."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def release() -> None:
    """Give unused memory back to the system and the device.

    An error that is being handled still holds what its frames hold: call this after the ``except`` block.
    """
    gc.collect()
    trim_heap()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _gb(size: float) -> str:
    return f"{size / GB:.1f}"
