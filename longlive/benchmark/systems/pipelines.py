"""The systems that run by diffusers' own pipelines: timed from outside, with random weights or real ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from longlive.benchmark.systems import random_pipelines
from longlive.benchmark.systems.checkouts.stage_clock import PROMPT, StageClock
from longlive.benchmark.systems.facts import SYSTEMS
from longlive.benchmark.systems.measurement import Measurement, encode_seconds
from longlive.errors import CheckpointError


@dataclass(frozen=True)
class PipelineRecipe:
    """How a system is called.

    Attributes:
        pipeline: name of its class in diffusers.
        random: makes it with random weights, at tiny width or at the published one.
        arguments: of the call, beside size, length and steps.
        tiny_arguments: what replaces them at tiny width.
        fps: at which its pictures are encoded.
        prepare: makes further arguments, such as a picture to begin with, of (width, height).
    """

    pipeline: str
    random: Callable[[bool, torch.device, torch.dtype], Any]
    arguments: Mapping[str, Any]
    tiny_arguments: Mapping[str, Any]
    fps: int
    prepare: Callable[[int, int], Mapping[str, Any]] = lambda width, height: {}


def _picture(width: int, height: int) -> Mapping[str, Any]:
    """A picture to begin with, for systems that need one."""
    from PIL import Image

    drawn = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return {"image": Image.fromarray(drawn)}


RECIPES = {
    "wan2.1": PipelineRecipe("WanPipeline", random_pipelines.wan, {"guidance_scale": 5.0}, {}, 16),
    "ltx-video": PipelineRecipe("LTXPipeline", random_pipelines.ltx, {"guidance_scale": 3.0}, {}, 24),
    "skyreels-v2": PipelineRecipe(
        "SkyReelsV2DiffusionForcingPipeline",
        random_pipelines.skyreels,
        {"guidance_scale": 6.0, "ar_step": 0, "base_num_frames": 97, "fps": 24},
        {},
        24,
    ),
    "framepack": PipelineRecipe(
        "HunyuanVideoFramepackPipeline",
        random_pipelines.framepack,
        {"guidance_scale": 9.0, "latent_window_size": 9},
        {
            "latent_window_size": 3,
            "prompt_template": {"template": "{}", "crop_start": 0},
            "max_sequence_length": 16,
        },
        30,
        _picture,
    ),
    "anyflow-far": PipelineRecipe(
        "AnyFlowFARPipeline", random_pipelines.anyflow_far, {}, {"chunk_partition": [1, 2]}, 16
    ),
    "helios": PipelineRecipe("HeliosPipeline", random_pipelines.helios, {"guidance_scale": 5.0}, {}, 24),
}
TINY_SIZE = {"width": 32, "height": 32, "num_frames": 9}


def measure_pipeline(
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    *,
    steps_measured: int,
    tiny: bool,
    weights: str | None,
) -> Measurement:
    """Make one video after a warm-up of one step.

    Args:
        name: of RECIPES.
        device, dtype: where, and in what, it is computed.
        steps_measured: how many of the published steps run.
        tiny: whether at tiny width, 32x32 pictures.
        weights: folder or Hub id in diffusers' layout; None for random weights.

    Raises:
        CheckpointError: if the weights cannot be read.
    """
    recipe, system = RECIPES[name], SYSTEMS[name]
    pipe = _load(recipe, weights, dtype).to(device) if weights else recipe.random(tiny, device, dtype)
    pipe.set_progress_bar_config(disable=True)
    size = (
        TINY_SIZE if tiny else {"width": system.width, "height": system.height, "num_frames": system.frames}
    )
    call = {"prompt": PROMPT, "output_type": "np", **recipe.arguments, **size}
    call.update(recipe.tiny_arguments if tiny else {})
    call.update(recipe.prepare(size["width"], size["height"]))
    steps = min(steps_measured, system.steps)
    pipe(**call, num_inference_steps=1, generator=torch.Generator().manual_seed(0))
    clock = StageClock(device)
    _watch(pipe, clock)
    begun = clock.now()
    made = pipe(**call, num_inference_steps=steps, generator=torch.Generator().manual_seed(1))
    wall = clock.now() - begun
    frames = (np.clip(made.frames[0], 0, 1) * 255).round().astype(np.uint8)
    stages: dict[str, float | None] = {
        part: clock.seconds.get(part, 0.0) for part in ("text", "denoise", "decode")
    }
    stages["other"] = max(0.0, wall - sum(clock.seconds.values()))
    stages["encode"] = encode_seconds(frames, recipe.fps)
    height, width = frames.shape[1:3]
    return Measurement(stages, len(frames), height, width, steps=system.steps, steps_measured=steps)


def _watch(pipe: Any, clock: StageClock) -> None:
    """Time the parts that every one of these pipelines has."""
    pipe.encode_prompt = clock.timed("text", pipe.encode_prompt)
    pipe.transformer.forward = clock.timed("denoise", pipe.transformer.forward)
    pipe.vae.decode = clock.timed("decode", pipe.vae.decode)


def _load(recipe: PipelineRecipe, weights: str, dtype: torch.dtype) -> Any:
    import diffusers

    try:
        return getattr(diffusers, recipe.pipeline).from_pretrained(weights, dtype=dtype)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{weights} cannot be loaded as {recipe.pipeline}: {' '.join(str(error).split())[:300]}. "
            "Give a folder in diffusers' layout or a Hub id, or leave --weights out for random weights."
        ) from error
