"""Runs NOVA from a checkout of github.com/baaivision/NOVA (Apache-2.0)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stage_clock import PROMPT, StageClock, parse_arguments, print_result

STEPS, DIFFUSION_STEPS, LATENTS = 64, 25, 9
"""Autoregressive steps of a latent, denoising steps in each, and latents of a published video."""


def main() -> None:
    """Make one video; with random weights there is no text encoder, and ``text`` is null."""
    args = parse_arguments()
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    pipe = _load(args.weights, dtype) if args.weights else _random(args.tiny, dtype)
    pipe = pipe.to(device)
    steps = 2 if args.tiny else STEPS  # the steps of a latent differ in size: all of them run
    call: dict[str, Any] = {
        "num_inference_steps": steps,
        "num_diffusion_steps": 2 if args.tiny else DIFFUSION_STEPS,
        "max_latent_length": 3 if args.tiny else LATENTS,
        "disable_progress_bar": True,
        "output_type": "np",
    }
    prompt = {"prompt": PROMPT} if args.weights else {"prompt_embeds": [_random_prompt(pipe)]}
    pipe(**prompt, **call | {"num_inference_steps": 1, "num_diffusion_steps": 1, "max_latent_length": 2})
    clock = StageClock(device)
    pipe.encode_prompt = clock.timed("text", pipe.encode_prompt)
    pipe.transformer.forward = clock.timed("denoise", pipe.transformer.forward)
    pipe.vae.decode = clock.timed("decode", pipe.vae.decode)
    begun = clock.now()
    frames = pipe(**prompt, **call).frames[0]
    other = max(0.0, clock.now() - begun - sum(clock.seconds.values()))
    text = clock.seconds["text"] if args.weights else None
    stages = {
        "text": text,
        "denoise": clock.seconds["denoise"],
        "decode": clock.seconds["decode"],
        "other": other,
    }
    print_result(args.frames, frames, stages, steps=steps, steps_measured=steps)


def _load(weights: str, dtype: torch.dtype) -> Any:
    from diffnext.pipelines import NOVAPipeline
    from diffnext.pipelines.builder import build_pipeline

    return build_pipeline(weights, NOVAPipeline, dtype)


def _random(tiny: bool, dtype: torch.dtype) -> Any:
    """The published 0.6B at 768x480, or the smallest that its code can build at 64x64.

    The config of its VAE is with its weights alone: this one has its scales (8 in space, 4 in time) and the
    default widths of its code.
    """
    from diffnext.models.autoencoders.autoencoder_kl_opensora import AutoencoderKLOpenSora
    from diffnext.models.transformers.transformer_nova import NOVATransformer3DModel
    from diffnext.pipelines import NOVAPipeline
    from diffnext.schedulers.scheduling_cfm import FlowMatchEulerDiscreteScheduler

    torch.manual_seed(0)
    width = 768 if tiny else 1024
    size = (64, 64) if tiny else (480, 768)
    transformer = NOVATransformer3DModel(
        image_dim=4,
        image_size=size,
        image_stride=8,
        text_token_dim=32 if tiny else 2560,
        text_token_len=16 if tiny else 256,
        rotary_pos_embed=False,
        video_base_size=[16, size[0] // 32, size[1] // 32],
        image_base_size=[size[0] // 16, size[1] // 16],
        arch=[f"vit_d16w{width}", f"vit_d32w{width}", "mlp_d3w1280"],
    )
    channels = (32, 32, 32, 32) if tiny else (128, 256, 512, 512)
    vae = AutoencoderKLOpenSora(
        latent_channels=4,
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 2 + ("DownEncoderBlock3D",) * 2,
        up_block_types=("UpDecoderBlock3D",) * 4,
    )
    for module in (transformer, vae):
        module.eval().requires_grad_(False).to(dtype)
    return NOVAPipeline(transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(), vae=vae)


def _random_prompt(pipe: Any) -> np.ndarray:
    """Tokens of a prompt: float32 (8, token_dim)."""
    return np.random.default_rng(0).normal(size=(8, pipe.transformer.text_embed.token_dim)).astype(np.float32)


if __name__ == "__main__":
    main()
