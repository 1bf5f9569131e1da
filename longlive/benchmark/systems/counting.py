"""FLOPs of each system at its published size, counted with fake tensors; nothing is computed or read."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from longlive.benchmark.cost import costs_of
from longlive.benchmark.systems.engine import RECIPES, config_of_system
from longlive.benchmark.systems.facts import SYSTEMS, System
from longlive.benchmark.systems.random_pipelines import SKYREELS, WAN, diffusers

TERA = 1e12
EARLIER: dict[str, tuple[float | None, float, str]] = {
    "framepack": (521, 370, "counted by hand on 2026-11-27: its code does not run with fake tensors"),
    "nova": (None, 65.5, "an upper bound, counted on 2026-11-27 from its authors' code; not in this run"),
    "magi-1": (259, 2071, "counted on 2026-11-27 from its authors' code; not in this run"),
}
"""TFLOP of a pass and of a picture, and how they were counted, where this program cannot."""


def count_system(name: str) -> dict[str, Any] | None:
    """TFLOP of a pass over the transformer and of a picture, decoding included, and how they were counted.

    None for a system that nobody has counted.
    """
    if name in EARLIER:
        earlier_pass, earlier_picture, how = EARLIER[name]
        return {"tflop_pass": earlier_pass, "tflop_picture": earlier_picture, "how": how}
    if name in RECIPES:
        a_pass, a_picture = _count_engine(name)
    elif name in _COUNTS:
        system = SYSTEMS[name]
        a_pass, decoding = _COUNTS[name](system)
        a_picture = (a_pass * system.passes * system.steps + decoding) / system.frames
    else:
        return None
    how = "FakeTensorMode, plain attention, at the published size"
    return {"tflop_pass": round(a_pass, 1), "tflop_picture": round(a_picture, 2), "how": how}


def _count_engine(name: str) -> tuple[float, float]:
    config = config_of_system(name)
    costs = costs_of(config)
    pictures = config.chunk * config.temporal_scale
    decoding = _wan_decoding(SYSTEMS[name]) / SYSTEMS[name].frames
    return costs["flops_pass"] / TERA, costs["flops_chunk"] / TERA / pictures + decoding


def _count_wan(system: System) -> tuple[float, float]:
    def one_pass() -> None:
        transformer = diffusers.WanTransformer3DModel(**WAN)
        with _counting() as counter:
            transformer(_wan_latents(system), torch.zeros(1), torch.zeros(1, 512, 4096))
        counts.append(counter.get_total_flops())

    counts: list[int] = []
    _fake(one_pass)
    return counts[0] / TERA, _wan_decoding(system)


def _count_skyreels(system: System) -> tuple[float, float]:
    def one_pass() -> None:
        transformer = diffusers.SkyReelsV2Transformer3DModel(**SKYREELS)
        latents = _wan_latents(system)
        times = torch.zeros(1, latents.shape[2], dtype=torch.int64)
        with _counting() as counter:
            fps = {"fps": torch.zeros(1, dtype=torch.int64), "enable_diffusion_forcing": True}
            transformer(latents, times, torch.zeros(1, 512, 4096), **fps)
        counts.append(counter.get_total_flops())

    counts: list[int] = []
    _fake(one_pass)
    return counts[0] / TERA, _wan_decoding(system)


def _count_ltx(system: System) -> tuple[float, float]:
    frames, height, width = 1 + (system.frames - 1) // 8, system.height // 32, system.width // 32

    def one_pass() -> None:
        transformer = diffusers.LTXVideoTransformer3DModel()
        vae = diffusers.AutoencoderKLLTXVideo()
        tokens, text = torch.zeros(2, frames * height * width, 128), torch.zeros(2, 128, 4096)
        size = {"num_frames": frames, "height": height, "width": width}
        with _counting() as counter:
            transformer(tokens, text, torch.zeros(2), torch.ones(2, 128), **size)
        counts.append(counter.get_total_flops())
        with _counting() as counter:
            vae.decode(torch.zeros(1, 128, frames, height, width), torch.zeros(1), return_dict=False)
        counts.append(counter.get_total_flops())

    counts: list[int] = []
    _fake(one_pass)
    return counts[0] / TERA, counts[1] / TERA


_COUNTS: dict[str, Callable[[System], tuple[float, float]]] = {
    "wan2.1": _count_wan,
    "skyreels-v2": _count_skyreels,
    "ltx-video": _count_ltx,
}


def _wan_latents(system: System) -> torch.Tensor:
    return torch.zeros(1, 16, 1 + (system.frames - 1) // 4, system.height // 8, system.width // 8)


@lru_cache
def _wan_decoding(system: System) -> float:
    """TFLOP of decoding a whole video by Wan's VAE."""

    def decode() -> None:
        vae = diffusers.AutoencoderKLWan()
        with _counting() as counter:
            vae.decode(_wan_latents(system), return_dict=False)
        counts.append(counter.get_total_flops())

    counts: list[int] = []
    _fake(decode)
    return counts[0] / TERA


def _counting() -> FlopCounterMode:
    return FlopCounterMode(display=False)


@torch.no_grad()
def _fake(run: Callable[[], None]) -> None:
    """Run with tensors that have shapes and no values; only plain attention is made of counted products."""
    with FakeTensorMode(), sdpa_kernel(SDPBackend.MATH):
        run()
