"""The systems that run in our own engine: measured by ``Bench``, the same that ``bench`` runs."""

import dataclasses
import math
import time

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from longlive.benchmark.bench import Bench
from longlive.benchmark.systems.facts import SYSTEMS
from longlive.benchmark.systems.measurement import Measurement
from longlive.config import ModelConfig, TransformerConfig
from longlive.models.bundle import ModelBundle
from longlive.runtime.options import print_progress
from longlive.runtime.startup import RuntimeOptions, accelerate, ready_models, warm
from longlive.weights.family import BUILT_IN
from longlive.weights.random_models import random_bundle

RECIPES = {
    "longlive": "longlive-1.3b",
    "self-forcing": "self-forcing",
    "self-forcing-framewise": "self-forcing",
    "causvid": "causvid",
}
"""Of each system, the model of the family that it is."""
_TINY = TransformerConfig(
    num_attention_heads=2,
    attention_head_dim=12,
    in_channels=16,
    out_channels=16,
    text_dim=32,
    freq_dim=256,
    ffn_dim=32,
    num_layers=2,
)


def config_of_system(name: str, *, tiny: bool = False) -> ModelConfig:
    """The recipe of a system; ``tiny``: at a width that any CPU can run, with 48x32 pictures.

    Self-Forcing's frame-wise recipe is its own with chunks of one latent, as its authors' code plays it;
    weights for that were never released.
    """
    config = BUILT_IN[RECIPES[name]]
    if name == "self-forcing-framewise":
        config = dataclasses.replace(config, name=name, chunk=1)
    if tiny:
        config = dataclasses.replace(config, transformer=_TINY, width=48, height=32, sizes=(), text_len=12)
    return config


def measure_engine(
    name: str, options: RuntimeOptions, *, seconds: float, tiny: bool, weights: str | None
) -> Measurement:
    """Stream a video and measure it once its window is full.

    Args:
        name: of RECIPES.
        options: device, dtype, decoder and what else makes it fast.
        seconds: of video that are measured.
        tiny: whether at tiny width.
        weights: name, folder or Hub id of the model with real weights; None for random ones.
    """
    models = ready_models(weights, options, print_progress) if weights else _random(name, options, tiny)
    for line in warm(models, options):
        print_progress(line)
    bench = Bench(models, switch_every=math.inf, compile_mode=options.compile)
    for _ in bench.run(seconds):
        pass
    pictures = sum(sample.num_frames for sample in bench.samples)
    stages = {stage: _seconds(bench, *parts) for stage, parts in _STAGES.items()}
    other = sum(sample.chunk_ms for sample in bench.samples) / 1000 - sum(stages.values())
    steps = SYSTEMS[name].steps
    return Measurement(
        seconds={**stages, "text": _text_seconds(models), "other": max(0.0, other)},
        pictures=pictures,
        height=models.config.height,
        width=models.config.width,
        steps=steps,
        steps_measured=steps,
        text_counts=False,
    )


_STAGES = {"denoise": ("switch", "denoise", "remember"), "decode": ("decode",), "encode": ("encode",)}


def _seconds(bench: Bench, *stages: str) -> float:
    return sum(sample.stage_ms.get(stage, 0.0) for sample in bench.samples for stage in stages) / 1000


def _text_seconds(models: ModelBundle) -> float | None:
    """Seconds to read a prompt that was not read before; None without a text encoder."""
    if models.digest == "random":
        return None
    begun = time.perf_counter()
    models.text_encoder.encode("a prompt that no one has asked for, to be read once and timed")
    if models.device.type == "cuda":
        torch.cuda.synchronize(models.device)
    return time.perf_counter() - begun


def _random(name: str, options: RuntimeOptions, tiny: bool) -> ModelBundle:
    config = config_of_system(name, tiny=tiny)
    make = tiny_vae if tiny else AutoencoderKLWan
    device, dtype = options.torch_device, options.torch_dtype
    models = random_bundle(config, lambda _: make(), source=name, decoder="wan", device=device, dtype=dtype)
    return accelerate(models, options, options.preset())


def tiny_vae() -> AutoencoderKLWan:
    """Wan's VAE, 3 channels wide: the scales of the real one at a thousandth of its work."""
    return AutoencoderKLWan(
        base_dim=3,
        z_dim=16,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
    )
