"""Runs Pyramid Flow from a checkout of github.com/jy0205/Pyramid-Flow (MIT)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from stage_clock import PROMPT, StageClock, parse_arguments, print_result

STEPS, LATENTS = 10, 16
"""Denoising steps of each of three sizes, and latents of a published video (5 s)."""
NAMES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


def main() -> None:
    """Make one video of 640x384, as the authors' example does, with real weights."""
    args = parse_arguments()
    from pyramid_dit import PyramidDiTForVideoGeneration

    device = torch.device(args.device)
    model = PyramidDiTForVideoGeneration(
        args.weights,
        model_dtype=NAMES[args.dtype],
        model_name="pyramid_flux"
        if "flux" in os.path.basename(args.weights.rstrip("/"))
        else "pyramid_mmdit",
        model_variant="diffusion_transformer_384p",
    )
    for part in (model.vae, model.dit, model.text_encoder):
        part.to(device)
    clock = StageClock(device)
    model.text_encoder.forward = clock.timed("text", model.text_encoder.forward)
    model.dit.forward = clock.timed("denoise", model.dit.forward)
    model.vae.decode = clock.timed("decode", model.vae.decode)
    _generate(model, temp=2, steps=1, size=(64, 64) if args.tiny else (384, 640))
    clock.seconds.clear()
    steps = min(args.steps, STEPS)
    begun = clock.now()
    size, temp = ((64, 64), 2) if args.tiny else ((384, 640), LATENTS)
    frames = _generate(model, temp=temp, steps=steps, size=size)
    other = max(0.0, clock.now() - begun - sum(clock.seconds.values()))
    stages = {
        **{part: clock.seconds.get(part, 0.0) for part in ("text", "denoise", "decode")},
        "other": other,
    }
    print_result(args.frames, frames, stages, steps=STEPS, steps_measured=steps)


def _generate(model: Any, *, temp: int, steps: int, size: tuple[int, int]) -> np.ndarray:
    """Pictures, uint8 (F, H, W, 3); the first latent takes twice the steps of the others."""
    with torch.no_grad():
        images = model.generate(
            prompt=PROMPT,
            num_inference_steps=[2 * steps] * 3,
            video_num_inference_steps=[steps] * 3,
            height=size[0],
            width=size[1],
            temp=temp,
            guidance_scale=7.0,
            video_guidance_scale=5.0,
            output_type="pil",
            save_memory=False,
        )
    return np.stack([np.asarray(image) for image in images])


if __name__ == "__main__":
    main()
