"""Wan 2.1's VAE, as diffusers has it: streamed decoding, encoding, and layers that are fast on CPUs.

The VAE's own order of axes (B, C, F, H, W), its normalisation and its feature cache stay inside this file.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    AutoencoderKLWan,
    WanCausalConv3d,
    WanRMS_norm,
    patchify,
    unpatchify,
)
from torch import Tensor, nn

Features = list[Any]
"""A decoder's feature cache between calls: two frames of features for each causal convolution."""


@torch.no_grad()
def encode_pictures(vae: AutoencoderKLWan, pictures: Tensor) -> Tensor:
    """The latents of a clip: the posterior's mean, normalised; the same bits as by the VAE's own ``encode``.

    ``encode`` itself keeps its feature cache in the VAE, where two threads would mix up their clips.

    Args:
        vae: left as it is.
        pictures: (B, 1 + 4 n, 3, H, W), in [-1, 1].

    Returns:
        (B, 1 + n, C, H / 8, W / 8).
    """
    patches, group = pictures.transpose(1, 2), 2 ** sum(vae.config["temperal_downsample"])
    if vae.config["patch_size"]:
        patches = patchify(patches, vae.config["patch_size"])
    features: Features = [None] * vae._cached_conv_counts["encoder"]
    parts = [patches[:, :, :1], *patches[:, :, 1:].split(group, dim=2)]
    hidden = [vae.encoder(part, feat_cache=features, feat_idx=[0]) for part in parts if part.shape[2]]
    latents = vae.quant_conv(torch.cat(hidden, 2)).chunk(2, dim=1)[0].transpose(1, 2)
    mean, std = latent_statistics(vae, latents)
    return (latents - mean) / std


def latent_statistics(vae: AutoencoderKLWan, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the latents' channels, (C, 1, 1), in dtype and device like ``like``."""
    mean, std = (
        torch.tensor(values, dtype=like.dtype, device=like.device).view(-1, 1, 1)
        for values in (vae.config["latents_mean"], vae.config["latents_std"])
    )
    return mean, std


def new_features(vae: AutoencoderKLWan) -> Features:
    """An empty feature cache: the next latent is the first of a video."""
    return [None] * vae._cached_conv_counts["decoder"]


def decode_stream(vae: AutoencoderKLWan, latents: Tensor, features: Features, *, is_first: bool) -> Tensor:
    """Decode the next latents, one by one, with the same bits as the VAE's own ``decode``.

    ``decode`` itself cannot be used, since it clears its cache at the start and at the end.

    Args:
        latents: (B, F, C, H, W), normalised.
        features: the stream's cache, which is updated.
        is_first: whether the first of the latents is the first of a video.

    Returns:
        (B, frames, 3, 8 H, 8 W), in [-1, 1].
    """
    hidden = _decoder_input(vae, latents)
    pictures = []
    for index in range(hidden.shape[2]):
        latent = hidden[:, :, index : index + 1]
        flag = {"first_chunk": True} if is_first and index == 0 else {}
        pictures.append(vae.decoder(latent, feat_cache=features, feat_idx=[0], **flag))
    patch = vae.config["patch_size"]
    return unpatchify(torch.cat(pictures, 2), patch or 1).clamp(-1, 1).transpose(1, 2)


def update_features(vae: AutoencoderKLWan, latents: Tensor, features: Features, *, num_blocks: int) -> None:
    """Update a feature cache as decoding would, but only in the first ``num_blocks`` upsampling blocks."""
    decoder = _first_blocks(vae.decoder, num_blocks)
    for latent in _decoder_input(vae, latents).split(1, dim=2):
        used = [0]
        decoder(latent, feat_cache=features, feat_idx=used)
        features[used[0] - 1] = None


def num_blocks_needed(reach: Mapping[str, int], num_later: int) -> int:
    """How many upsampling blocks must see latents that are followed by ``num_later`` others.

    Args:
        reach: of each layer, as ``StreamingDecoder`` counts it.
        num_later: latents before the one whose pictures are wanted.
    """
    blocks = (
        name.split(".")[1] for name in reach if name.startswith("up_blocks.") and reach[name] > num_later
    )
    return len(set(blocks))


def _decoder_input(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """(B, F, C, H, W), normalised -> (B, C, F, H, W), as the decoder reads it."""
    mean, std = latent_statistics(vae, latents)
    hidden: Tensor = vae.post_quant_conv((latents * std + mean).transpose(1, 2))
    return hidden


def _first_blocks(decoder: Any, number: int) -> Any:
    """A Wan decoder of the same weights that ends before its upsampling block ``number``."""
    short = copy.copy(decoder)
    end = {"norm_out": nn.Identity(), "nonlinearity": nn.Identity(), "conv_out": _CachedIdentity()}
    short._modules = decoder._modules | {"up_blocks": decoder.up_blocks[:number]} | end
    return short


class _CachedIdentity(nn.Module):
    """Stands in for a causal convolution whose result is not wanted."""

    def forward(self, x: Tensor, _: Tensor | None = None) -> Tensor:
        """Any tensor -> the same."""
        return x


def optimize_for_cpu(vae: AutoencoderKLWan) -> None:
    """Let a VAE's convolutions and norms run as kernels that are fast on CPUs; its weights stay as they are.

    Measured on one AVX-512 core, decoding a chunk of 12 pictures of 96x64: base width 16 with 1 residual
    block 68 -> 30 ms, 32 with 2 blocks 224 -> 85 ms; the largest difference is 5e-6.
    """
    for module in (*vae.encoder.modules(), *vae.decoder.modules()):
        if type(module) is WanCausalConv3d:
            module.__class__ = FoldedCausalConv3d
        elif type(module) is WanRMS_norm and module.channel_first:
            module.__class__ = FastRmsNorm


class FoldedCausalConv3d(WanCausalConv3d):
    """A causal 3-D convolution whose time taps are stacked on the channels of one 2-D convolution.

    oneDNN's conv3d is slow where there are few channels; its conv2d is not.
    """

    def forward(self, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
        """Convolve (B, C, F, H, W), after the cached frames if there are any, else after zeros."""
        left, _, top, _, past, _ = (int(size) for size in self._padding)
        if cache_x is not None and past > 0:
            x, past = torch.cat([cache_x, x], dim=2), past - cache_x.shape[2]
        x = F.pad(x, (0, 0, 0, 0, past, 0)).transpose(1, 2)
        taps, stride = self.kernel_size[0], self.stride[0]
        batch, num_frames = x.shape[0], (x.shape[1] - taps) // stride + 1
        span = (num_frames - 1) * stride + 1
        stacked = torch.cat([x[:, tap : tap + span : stride] for tap in range(taps)], dim=2).flatten(0, 1)
        weight = self.weight.transpose(1, 2).flatten(1, 2)
        out = F.conv2d(stacked, weight, self.bias, stride=self.stride[1:], padding=(top, left))
        return out.unflatten(0, (batch, num_frames)).transpose(1, 2)


class FastRmsNorm(WanRMS_norm):
    """Root-mean-square norm over the channels, without the strided norm kernel that is slow on CPUs."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> same shape."""
        square = x.float().square().mean(1, keepdim=True)
        return x * square.clamp_min(1e-24).rsqrt().type_as(x) * self.gamma + self.bias
