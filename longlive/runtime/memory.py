"""What a model needs of a device's memory, and which way of running it fits: told in words before it starts.

The sizes are counted from the model's facts and files; nothing is loaded. Published for the 1.3B model at
832x480 in bfloat16: 7.1 GiB with a tiny VAE and without a resident text encoder, which is 10.6 GiB more.
"""

import dataclasses
import gc
from collections.abc import Sequence
from dataclasses import dataclass

import psutil
import torch

from longlive.config import ModelConfig
from longlive.errors import FitError
from longlive.runtime.allocator import trim_heap

GB = 10**9
# What a CUDA context and the libraries' workspaces take.
CONTEXT_BYTES = int(0.8 * GB)
# Of what is free, this share may be planned with: allocators waste some of it.
USABLE = 0.95


@dataclass(frozen=True)
class Preset:
    """A way to run a model; of several, the first that fits is taken.

    Attributes:
        gb: size of the devices that it is meant for.
        text: where the text encoder lies: ``resident`` on the device, ``streamed`` to it block by block for
            each prompt and freed again, or on the ``cpu``.
        decoder: ``wan``, ``tiny`` or ``light``; ``auto`` until a model is known.
        quantize: ``off``, ``int8`` or ``fp8``: the products of the blocks.
        cache: ``full`` or ``fp8``: the keys and values.
        streams: viewers at once that there must be room for.
    """

    gb: int
    text: str
    decoder: str = "auto"
    quantize: str = "off"
    cache: str = "full"
    streams: int = 1


PRESETS = (
    Preset(80, "resident", streams=4),
    Preset(48, "resident", streams=3),
    Preset(24, "resident"),
    Preset(16, "streamed", streams=2),
    Preset(12, "streamed", decoder="tiny"),
    Preset(8, "streamed", decoder="tiny", cache="fp8"),
)
"""From the largest device to the smallest."""


# The share of the blocks' weights; FP8 leaves the products of dim by dim channels as they are.
_IN_EIGHT_BITS = {"off": 0.0, "int8": 1.0, "fp8": 0.74}


@dataclass(frozen=True)
class ModelFootprint:
    """Bytes of a model's parts on a device.

    Attributes:
        blocks, rest: weights of the transformer that can be quantised, and the others.
        text, text_block: weights of the text encoder, and of one of its blocks.
        decoders: weights of each decoder that the model has.
        decoder_work, decoder_state: feature maps of each while it decodes, and what it remembers of a stream.
        cache: keys and values of one stream, those of the prompt included.
        work: activations of the largest pass, which is a prompt switch.
        itemsize: bytes of a number of the transformer.
    """

    blocks: int
    rest: int
    text: int
    text_block: int
    decoders: dict[str, int]
    decoder_work: dict[str, int]
    decoder_state: dict[str, int]
    cache: int
    work: int
    itemsize: int


@dataclass(frozen=True)
class MemoryPlan:
    """A preset that fits, and by how much.

    Attributes:
        preset: what to do.
        needed, free: bytes that it takes, and that there are.
        smaller: presets that take less, the largest first; for when it does not fit after all.
    """

    preset: Preset
    needed: int
    free: int
    smaller: tuple[Preset, ...] = ()

    def __str__(self) -> str:
        """In words for people."""
        return f"fits: {words_of(self.preset)}: needs {_gb(self.needed)} of {_gb(self.free)} GB"


def words_of(preset: Preset) -> str:
    """A preset in words for people."""
    words = [
        f"{preset.decoder} decoder",
        {
            "resident": "text encoder on the device",
            "streamed": "text encoder brought in for each prompt",
            "cpu": "text encoder on the CPU",
        }[preset.text],
    ]
    words += [f"{preset.quantize} products"] * (preset.quantize != "off")
    words += [f"{preset.cache} keys and values"] * (preset.cache != "full")
    return ", ".join(words)


def needed_bytes(sizes: ModelFootprint, preset: Preset, *, context: int = CONTEXT_BYTES) -> int:
    """What a preset takes of a device's memory; of what does not happen at once, only the largest counts."""
    spared = _IN_EIGHT_BITS[preset.quantize] * (1 - 1 / sizes.itemsize)
    blocks = sizes.blocks - int(spared * sizes.blocks)
    cache = sizes.cache if preset.cache == "full" else sizes.cache // sizes.itemsize
    resident = sizes.text if preset.text == "resident" else 0
    visiting = 2 * sizes.text_block if preset.text == "streamed" else 0
    weights = blocks + sizes.rest + resident + sizes.decoders[preset.decoder]
    stream = cache + sizes.decoder_state[preset.decoder]
    work = max(sizes.work, sizes.decoder_work[preset.decoder], visiting)
    return context + weights + preset.streams * stream + work


def presets_for(
    sizes: ModelFootprint, wishes: dict[str, str], presets: Sequence[Preset] = PRESETS
) -> list[Preset]:
    """The presets with what people asked for in place of their own, each once.

    Args:
        sizes: of the model.
        wishes: words for fields of Preset; ``auto``, ``off`` and ``full`` leave the choice to the preset.
        presets: from the largest to the smallest.
    """
    asked = {name: word for name, word in wishes.items() if word not in ("auto", "off", "full")}
    usual = "tiny" if "tiny" in sizes.decoders else "wan"
    found: dict[Preset, None] = {}
    for preset in presets:
        preset = dataclasses.replace(preset, **asked)  # type: ignore[arg-type]
        if preset.decoder == "auto" or ("decoder" not in asked and preset.decoder not in sizes.decoders):
            preset = dataclasses.replace(preset, decoder=usual)
        found[preset] = None
    return list(found)


def choose(
    sizes: ModelFootprint, free: int, presets: Sequence[Preset], *, context: int = CONTEXT_BYTES
) -> MemoryPlan:
    """The first preset that fits into ``free`` bytes.

    Raises:
        FitError: if none does; says what the smallest would need.
    """
    needs = {preset: needed_bytes(sizes, preset, context=context) for preset in presets}
    chosen = next((preset for preset in presets if needs[preset] <= USABLE * free), None)
    if chosen is None:
        least = min(presets, key=needs.__getitem__)
        raise FitError(
            f"The model does not fit: it needs {_gb(needs[least] / USABLE)} GB ({words_of(least)}), but "
            f"{_gb(free)} GB are free. Close other programs, or take a larger device or a smaller model."
        )
    smaller = [preset for preset in presets if needs[preset] < needs[chosen]]
    ladder = sorted(smaller, key=needs.__getitem__, reverse=True)
    return MemoryPlan(chosen, needs[chosen], free, tuple(ladder))


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device; on a CPU, that the machine can give."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def release() -> None:
    """Give back what nobody holds any more; an error that is being handled still holds what failed."""
    gc.collect()
    trim_heap()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def cache_bytes(config: ModelConfig, itemsize: int) -> int:
    """Keys and values of one stream, of its window and of a prompt."""
    shape = config.transformer
    rows = config.window * config.tokens_per_latent + config.text_len
    return 2 * shape.num_layers * rows * shape.dim * itemsize


def work_bytes(config: ModelConfig, itemsize: int) -> int:
    """Activations of the pass over a whole window, at its widest place: the feed-forward network."""
    shape = config.transformer
    return config.window * config.tokens_per_latent * (8 * shape.dim + 2 * shape.ffn_dim) * itemsize


def _gb(size: float) -> str:
    return f"{size / GB:.1f}"
