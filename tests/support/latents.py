"""Latents for a tiny Wan VAE, and what it decodes them to in one go."""

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from longlive.models.wan_vae import latent_statistics


def latents(number: int) -> Tensor:
    return torch.randn(1, number, 4, 4, 6, generator=torch.Generator().manual_seed(1))


def at_once(vae: AutoencoderKLWan, clip: Tensor) -> Tensor:
    mean, std = latent_statistics(vae, clip)
    return vae.decode((clip * std + mean).transpose(1, 2)).sample.transpose(1, 2)
