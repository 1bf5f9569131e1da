"""Encoding, and the layers that are fast on CPUs."""

import torch
from diffusers import AutoencoderKLWan

from longlive.models.wan_vae import encode_pictures
from tests.support.latents import at_once, latents


def test_encoding_is_the_normalised_mean_and_deterministic(vae: AutoencoderKLWan) -> None:
    pictures = torch.rand(1, 9, 3, 32, 48, generator=torch.Generator().manual_seed(2)) * 2 - 1
    encoded = encode_pictures(vae, pictures)
    assert encoded.shape == (1, 3, 4, 4, 6)
    assert torch.equal(encoded, encode_pictures(vae, pictures))
    raw = vae.encode(pictures.transpose(1, 2)).latent_dist.mean.transpose(1, 2)
    channel = (raw[:, :, 1] + 0.2) / 1.5
    torch.testing.assert_close(encoded[:, :, 1], channel)


def test_the_fast_layers_compute_what_the_plain_ones_compute(
    vae: AutoencoderKLWan, fast_vae: AutoencoderKLWan
) -> None:
    clip, pictures = latents(7), torch.rand(1, 9, 3, 32, 48) * 2 - 1
    torch.testing.assert_close(at_once(fast_vae, clip), at_once(vae, clip), atol=2e-5, rtol=0)
    torch.testing.assert_close(
        encode_pictures(fast_vae, pictures), encode_pictures(vae, pictures), atol=2e-5, rtol=0
    )
    assert fast_vae.state_dict().keys() == vae.state_dict().keys()
