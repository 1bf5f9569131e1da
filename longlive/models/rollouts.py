"""Rollouts that overlap, by which CausVid (arXiv:2412.07772) goes on beyond the clip that it was trained on.

A rollout begins with the last latents of the one before. The first of them stood for four pictures there and
stands for one here, so it is encoded again from that picture; the others are repeated as they are. What was
shown already is not shown again, so that each chunk takes as long as in a stream without rollouts.
"""

import threading

import torch
from torch import Tensor

from longlive.models.bundle import ModelBundle
from longlive.models.decoder import StreamingDecoder
from longlive.models.wan_vae import encode_pictures

_encoding = threading.Lock()  # the VAE encodes by a cache of its own


@torch.no_grad()
def encode_again(models: ModelBundle, rollout: Tensor, overlap: int) -> Tensor:
    """What the next rollout begins with.

    Args:
        models: decodes by its decoder, and encodes by the Wan VAE, whichever decoder it has.
        rollout: all latents (1, F, C, H, W) of the one before.
        overlap: how many of them are repeated.

    Returns:
        (1, overlap, C, H, W), like ``rollout``.
    """
    decoder = StreamingDecoder(models.decoder, models.config.fps)
    decoder.catch_up(rollout[:, :-overlap].split(1, 1), 0)
    pictures = decoder.decode_latents(rollout[:, -overlap:])
    num_repeated = models.config.num_frames(overlap)
    weight = next(models.vae.parameters())
    still = pictures[:, -num_repeated].unsqueeze(1).to(weight.device, weight.dtype)
    with _encoding:
        first = encode_pictures(models.vae, still)
    return torch.cat([first.to(rollout), rollout[:, rollout.shape[1] - overlap + 1 :]], 1)
