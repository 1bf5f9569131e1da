"""LatentChunk -> FrameChunk, chunk by chunk, the same as in one go: diffusers' Wan VAE, or the tiny VAE.

The Wan VAE's own order (B, C, F, H, W), its normalisation and its feature cache stay inside this file.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    AutoencoderKLWan,
    WanCausalConv3d,
    unpatchify,
)
from torch import Tensor, nn

from longlive.chunks import FrameChunk, LatentChunk
from longlive.models.tiny_vae import GrowTime, Memory, MemoryBlock, TinyVae
from longlive.models.wan_vae import latent_statistics, optimize_for_cpu

Vae = AutoencoderKLWan | TinyVae


class StreamingDecoder:
    """The decoding state of one stream: the VAE's features of the last latents, and the count of pictures."""

    def __init__(self, vae: Vae, fps: int) -> None:
        self.vae = vae
        self.fps = fps
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next latent is the first of a video, and its picture is number 0."""
        self._features: list[Any] | Memory | None = None
        self._next_frame = 0

    @property
    def remembered(self) -> list[Tensor]:
        """What is kept of the latents decoded before."""
        return [part for part in self._features or () if isinstance(part, Tensor)]

    @property
    def reach(self) -> int:
        """How many latents before a latent its pictures depend on, by the network's layers.

        Measured by how far a latent of NaNs spreads, with random weights: 38 for the Wan VAE, 30 with one
        residual block instead of two, 28 for the storybook's, 8 for the tiny VAE. After so many, pictures are
        the same bit for bit; after 24, those of a Wan VAE still differ by up to 0.02 (of 2).
        """
        return max(_memory_of_layers(self.vae).values())

    @torch.no_grad()
    def catch_up(self, parts: Sequence[Tensor], next_frame: int) -> None:
        """Be where a stream has led, for the pictures that come next.

        Only as many of the last parts are looked at as those depend on, and the older of them by the first
        layers alone: the later a layer, the shorter its memory in latents.

        Args:
            parts: (1, F, C, H, W) of each chunk since the stream's start or its last cut.
            next_frame: number of the picture that comes next.
        """
        self.reset()
        memory, device = _memory_of_layers(self.vae), next(self.vae.parameters()).device
        later = sum(part.shape[1] for part in parts)
        for part in parts:
            later -= part.shape[1]
            if later < max(memory.values()):
                self._see(part.to(device), _num_blocks(memory, later))
        self._next_frame = next_frame

    def _see(self, latents: Tensor, num_blocks: int) -> None:
        """Remember latents, by a Wan decoder's first upsampling blocks alone."""
        if (
            isinstance(self.vae, TinyVae)
            or self.vae.config["is_residual"]
            or num_blocks == len(self.vae.decoder.up_blocks)
        ):
            self.decode_latents(latents)
            return
        if self._features is None:
            self._features = [None] * self.vae._cached_conv_counts["decoder"]
        features: Any = self._features
        decoder = _first_blocks(self.vae.decoder, num_blocks)
        for latent in _wan_hidden(self.vae, latents).split(1, dim=2):
            used = [0]
            decoder(latent, feat_cache=features, feat_idx=used)
            features[used[0] - 1] = None

    def branch(self) -> "StreamingDecoder":
        """Another decoder that goes on from here by itself; what was seen so far is shared, never written."""
        other = copy.copy(self)
        other._features = copy.copy(self._features)
        return other

    @torch.no_grad()
    def decode(self, chunk: LatentChunk) -> FrameChunk:
        """The pictures of what comes next: 1 for the first latent of a take or a cut, 4 for each later one.

        If it fails, nothing has changed: the same chunk or part may be decoded again.
        """
        ahead = self.branch()
        if chunk.first_latent == 0:
            ahead._features = None
        frames = to_uint8(ahead.decode_latents(chunk.latents)[0])
        first_frame = self._next_frame
        self._features, self._next_frame = ahead._features, first_frame + len(frames)
        return FrameChunk(
            index=chunk.index,
            prompt_index=chunk.prompt_index,
            prompt=chunk.prompt,
            first_frame=first_frame,
            frames=frames,
            fps=self.fps,
            ends_chunk=chunk.ends_chunk,
        )

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Decode what follows the latents given before.

        Args:
            latents: (B, F, C, H, W), normalised.

        Returns:
            (B, frames, 3, 8 H, 8 W), in [-1, 1].
        """
        if isinstance(self.vae, TinyVae):
            pictures = []
            for latent in latents.split(1, dim=1):  # its pictures at full size take most of the memory
                more, self._features = self.vae(latent, self._features)
                pictures.append(more)
            return torch.cat(pictures, 1)
        is_first = self._features is None
        if self._features is None:
            self._features = [None] * self.vae._cached_conv_counts["decoder"]
        return _wan_pictures(self.vae, latents, self._features, is_first=is_first)


def _wan_pictures(vae: AutoencoderKLWan, latents: Tensor, features: Any, *, is_first: bool) -> Tensor:
    """Decode latent by latent, as the VAE's own ``decode`` does, so the pictures are the same bit for bit.

    ``decode`` itself cannot be used, since it clears its cache at the start and at the end.
    """
    hidden = _wan_hidden(vae, latents)
    pictures = []
    for index in range(hidden.shape[2]):
        latent = hidden[:, :, index : index + 1]
        flag = {"first_chunk": True} if is_first and index == 0 else {}
        pictures.append(vae.decoder(latent, feat_cache=features, feat_idx=[0], **flag))
    patch = vae.config["patch_size"]
    return unpatchify(torch.cat(pictures, 2), patch or 1).clamp(-1, 1).transpose(1, 2)


def _wan_hidden(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """(B, F, C, H, W), normalised -> (B, C, F, H, W), as the decoder reads it."""
    mean, std = latent_statistics(vae, latents)
    hidden: Tensor = vae.post_quant_conv((latents * std + mean).transpose(1, 2))
    return hidden


def _memory_of_layers(vae: Vae) -> dict[str, int]:
    """Of how many latents before a latent its pictures need each layer's output or memory, by its name."""
    is_tiny, frames, memory = isinstance(vae, TinyVae), 0, {}
    rate = vae.time_scale if is_tiny else 2 ** sum(vae.config["temperal_downsample"])
    for name, layer in reversed(list(vae.decoder.named_modules())):
        slower = layer.scale if isinstance(layer, GrowTime) else 1 + name.endswith("time_conv")
        frames, rate = -(-frames // slower), rate // slower
        if isinstance(layer, MemoryBlock):
            frames += 1
        elif isinstance(layer, WanCausalConv3d):
            frames += layer.kernel_size[0] - 1
        memory[name] = -(-frames // rate)
    return memory


def _num_blocks(memory: Mapping[str, int], later: int) -> int:
    """How many of a Wan decoder's upsampling blocks must see what ``later`` latents follow."""
    blocks = (name.split(".")[1] for name in memory if name.startswith("up_blocks.") and memory[name] > later)
    return len(set(blocks))


def _first_blocks(decoder: Any, number: int) -> Any:
    """A Wan decoder of the same weights that ends before its upsampling block ``number``."""
    short = copy.copy(decoder)
    end = {"norm_out": nn.Identity(), "nonlinearity": nn.Identity(), "conv_out": _End()}
    short._modules = decoder._modules | {"up_blocks": decoder.up_blocks[:number]} | end
    return short


class _End(nn.Module):
    """Stands for a causal convolution where no more is wanted."""

    def forward(self, x: Tensor, _: Tensor | None = None) -> Tensor:
        """Any tensor -> the same."""
        return x


def to_uint8(pictures: Tensor) -> np.ndarray:
    """(F, 3, H, W) in [-1, 1] -> uint8 (F, H, W, 3) in host memory."""
    scaled = ((pictures.float() + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    if not scaled.is_cuda:
        return scaled.numpy()
    # Into pinned memory, which the caching allocator hands out again.
    host = torch.empty(scaled.shape, dtype=torch.uint8, pin_memory=True)
    host.copy_(scaled, non_blocking=True)
    torch.cuda.current_stream(scaled.device).synchronize()
    return host.numpy()


def optimize_decoder(vae: Vae) -> None:
    """Let a VAE run as kernels that are quick on its device; its weights stay what they are."""
    if next(vae.parameters()).is_cuda:
        put_channels_last(vae)
    elif not isinstance(vae, TinyVae):
        optimize_for_cpu(vae)


def put_channels_last(vae: Vae) -> None:
    """Let the channels of all convolutions' weights lie side by side; the feature maps follow them."""
    for module in vae.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
        elif isinstance(module, nn.Conv3d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last_3d)
