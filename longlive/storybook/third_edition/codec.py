"""The third edition's codec: 4 x 16 x 16 pixels to 48 channels, with two decoders of the same latents.

An ``AutoencoderKLWan`` with a patch of 4, so that 256x160 pictures have the 16 x 10 grid of latents that the
second edition has at 128x80, and a ``TinyVae`` with a pixel shuffle for streaming. Both decoders are trained
together with the encoder.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor, nn

from longlive.models.tiny_vae import MemoryBlock, TinyVae
from longlive.storybook.codec import decode_clip, encode_clip

LATENT_CHANNELS = 48
PATCH = 4
PIXELS = 4 * PATCH
"""Height and width of the pixels that a cell of the latents stands for."""
EDGE_WEIGHT = 4.0
SUBJECT_WEIGHT = 2.0
SQUARE_WEIGHT = 4.0


def new_wan_codec() -> AutoencoderKLWan:
    """An untrained Wan VAE of 3.3 M parameters in its decoder and encoder together."""
    return AutoencoderKLWan(
        base_dim=48,
        decoder_base_dim=32,
        z_dim=LATENT_CHANNELS,
        dim_mult=[1, 1, 2],
        num_res_blocks=1,
        attn_scales=[],
        temperal_downsample=[True, True],
        in_channels=3 * PATCH**2,
        out_channels=3 * PATCH**2,
        patch_size=PATCH,
        scale_factor_spatial=PIXELS,
        scale_factor_temporal=4,
        latents_mean=[0.0] * LATENT_CHANNELS,
        latents_std=[1.0] * LATENT_CHANNELS,
    )


def new_tiny_decoder() -> TinyVae:
    """An untrained tiny decoder, 16 times larger pictures."""
    return TinyVae(LATENT_CHANNELS, (80, 56, 32, 16), blocks=(3, 3, 2), patch=2)


class Codec(nn.Module):
    """Encoder, Wan decoder and tiny decoder, with running statistics of the latents.

    Attributes:
        mean: (48,), of each channel of the raw latents.
        std: one number, for all channels together.
    """

    def __init__(self) -> None:
        super().__init__()
        self.wan = new_wan_codec()
        self.tiny = new_tiny_decoder()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(LATENT_CHANNELS))
        self.register_buffer("std", torch.ones(()))

    def encode(self, pictures: Tensor) -> Tensor:
        """Raw latents (B, 48, 1 + N, H/16, W/16) of pictures (B, 3, 1 + 4N, H, W) in [-1, 1]."""
        return encode_clip(self.wan, pictures)

    def decode(self, normalised: Tensor) -> Tensor:
        """Pictures (B, 3, 1 + 4N, H, W) of normalised latents by the Wan decoder; not clamped."""
        return decode_clip(self.wan, normalised * self.std + self._mean)

    def decode_tiny(self, normalised: Tensor) -> Tensor:
        """The same by the tiny decoder; not clamped, so that gradients flow where a pixel is too bright."""
        batch = len(normalised)
        x = normalised.transpose(1, 2).flatten(0, 1)
        for layer in self.tiny.decoder:
            x = layer(x, None, batch)[0] if isinstance(layer, MemoryBlock) else layer(x)
        pictures = x.unflatten(0, (batch, -1))[:, self.tiny.time_scale - 1 :]
        return pictures.transpose(1, 2) * 2 - 1

    def normalise(self, latents: Tensor) -> Tensor:
        """Raw latents -> latents as the transformer makes them, in float32."""
        return (latents.float() - self._mean) / self.std

    @torch.no_grad()
    def update_statistics(self, latents: Tensor, share: float) -> None:
        """Move ``mean`` and ``std`` towards those of a batch of raw latents by ``share`` in [0, 1]."""
        values = latents.detach().float()
        mean = values.mean((0, 2, 3, 4))
        self.mean.lerp_(mean, share)
        self.std.lerp_((values - mean.view(-1, 1, 1, 1)).square().mean().sqrt(), share)

    @torch.no_grad()
    def measure_statistics(self, batches: Iterable[Tensor]) -> None:
        """Set ``mean`` and ``std`` to those of the raw latents of all ``batches`` of pictures together.

        The tiny decoder reads normalised latents, so it is as good as these two are true. The means of
        single clips lie far apart in one direction of the channels: give hundreds of clips.
        """
        count, total, squares = 0, self.mean.new_zeros(LATENT_CHANNELS, dtype=torch.float64), 0.0
        for pictures in batches:
            values = self.encode(pictures).double().transpose(0, 1).flatten(1)
            count += values.shape[1]
            total += values.sum(1)
            squares += values.square().sum().item()
        mean = total / count
        self.mean.copy_(mean)
        self.std.fill_((squares / (count * LATENT_CHANNELS) - mean.square().mean().item()) ** 0.5)

    @property
    def _mean(self) -> Tensor:
        return self.mean.view(-1, 1, 1, 1)


def picture_loss(decoded: Tensor, pictures: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted absolute, squared and gradient error; and the plain mean squared error.

    Args:
        decoded, pictures: (B, 3, T, H, W) in [-1, 1].
        weight: (B, 1, T, H, W) of mean 1, see ``pixel_weights``.
    """
    error = decoded.float() - pictures
    square = error.square()
    loss = (weight * (error.abs() + SQUARE_WEIGHT * square)).mean()
    across, down = error.diff(dim=-1).abs(), error.diff(dim=-2).abs()
    loss = loss + (weight[..., 1:] * across).mean() + (weight[..., 1:, :] * down).mean()
    return loss, square.detach().mean()


@torch.no_grad()
def pixel_weights(pictures: Tensor) -> Tensor:
    """Weights (B, 1, T, H, W) of mean 1: higher at edges, and in the middle, where the subject is."""
    slopes = gradient_magnitude(pictures).amax(1, keepdim=True)
    near = F.max_pool2d(slopes.flatten(0, 2), 3, stride=1, padding=1).view_as(slopes)
    weight = 1 + EDGE_WEIGHT * (near * 2).clamp(max=1)
    width = pictures.shape[-1]
    weight[..., int(0.22 * width) : int(0.78 * width)] *= SUBJECT_WEIGHT
    return weight / weight.mean()


def gradient_magnitude(pictures: Tensor) -> Tensor:
    """Length of the gradient at each pixel, same shape, in units of the values per pixel."""
    across = F.pad(pictures.diff(dim=-1), (0, 1))
    down = F.pad(pictures.diff(dim=-2), (0, 0, 0, 1))
    return (across.square() + down.square()).sqrt()
