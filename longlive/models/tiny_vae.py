"""Latents -> pictures by a tiny VAE: the decoder of TAEHV's ``taew2_1``, 25 times cheaper than Wan's own.

Parameter names are those of the published file (github.com/madebyollin/taehv, MIT). The network works on
each latent by itself, but for blocks that also see the frame before: one frame per block is all that a
stream has to keep. Like the transformer, the module has no state; it is passed in and out.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TinyVaeState = tuple[Tensor, ...]
"""The last frame of features of each MemoryBlock."""

BLOCKS_PER_STAGE = 3


class TinyVae(nn.Module):
    """Latents as the transformer makes them -> pictures, ``8 * patch`` times larger and 4 times as many.

    Attributes:
        config: what it was built with, as it is written to ``config.json``.
    """

    def __init__(
        self,
        latent_channels: int = 16,
        widths: tuple[int, int, int, int] = (256, 128, 64, 64),
        time_scales: tuple[int, int, int] = (1, 2, 2),
        blocks: tuple[int, int, int] = (BLOCKS_PER_STAGE,) * 3,
        patch: int = 1,
    ) -> None:
        """A decoder with fresh weights.

        Args:
            latent_channels: of a latent.
            widths: channels of the three stages, and of the pictures' own size.
            time_scales: frames that each stage makes of one.
            blocks: memory blocks of each stage.
            patch: side of the pixel shuffle at the end, in pixels; 1 for none, as published.
        """
        super().__init__()
        self.config: dict[str, Any] = {
            "latent_channels": latent_channels,
            "widths": list(widths),
            "time_scales": list(time_scales),
            "blocks": list(blocks),
            "patch": patch,
        }
        layers: list[nn.Module] = [SoftClamp(), _conv(latent_channels, widths[0]), nn.ReLU()]
        for stage, time_scale in enumerate(time_scales):
            width, narrower = widths[stage], widths[stage + 1]
            layers += [MemoryBlock(width) for _ in range(blocks[stage])]
            layers += [nn.Upsample(scale_factor=2), GrowTime(width, time_scale)]
            layers += [_conv(width, narrower, bias=False)]
        layers += [nn.ReLU(), _conv(widths[-1], 3 * patch**2)]
        if patch > 1:
            layers.append(nn.PixelShuffle(patch))
        self.decoder = nn.Sequential(*layers)
        self.time_scale = math.prod(time_scales)

    def forward(self, latents: Tensor, state: TinyVaeState | None = None) -> tuple[Tensor, TinyVaeState]:
        """Decode what follows the latents given before.

        Args:
            latents: (B, F, C, H, W), normalised, as the transformer makes them.
            state: of the call before; None at the start of a video.

        Returns:
            Pictures (B, frames, 3, 8 patch H, 8 patch W) in [-1, 1], where the first latent of a video gives
            one and each later one four; and the state for the next call.
        """
        batch, before, x = latents.shape[0], iter(state or ()), latents.flatten(0, 1)
        new_state = []
        for layer in self.decoder:
            if isinstance(layer, MemoryBlock):
                x, last = layer(x.unflatten(0, (batch, -1)), next(before, None))
                new_state.append(last)
            else:
                x = layer(x)
        pictures = x.unflatten(0, (batch, -1)).clamp(0, 1) * 2 - 1
        return pictures if state else pictures[:, self.time_scale - 1 :], tuple(new_state)


class MemoryBlock(nn.Module):
    """A residual block that also sees the frame before."""

    def __init__(self, width: int) -> None:
        """``width`` channels in and out."""
        super().__init__()
        self.conv = nn.Sequential(
            _conv(2 * width, width), nn.ReLU(), _conv(width, width), nn.ReLU(), _conv(width, width)
        )

    def forward(self, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Frames (B, F, C, H, W) and the one before them -> (B F, C, H, W), and the last frame of ``x``."""
        last = x[:, -1:].clone()
        before = torch.zeros_like(last) if before is None else before
        earlier = torch.cat([before, x[:, :-1]], dim=1)
        both = torch.cat([x, earlier], dim=2).flatten(0, 1)
        return F.relu(self.conv(both) + x.flatten(0, 1)), last


class GrowTime(nn.Module):
    """One frame -> ``scale`` frames, each by its own channels of a 1x1 convolution."""

    def __init__(self, width: int, scale: int) -> None:
        """``width`` channels in and out."""
        super().__init__()
        self.width = width
        self.scale = scale
        self.conv = nn.Conv2d(width, scale * width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N scale, C, H, W)."""
        return self.conv(x).unflatten(1, (-1, self.width)).flatten(0, 1)


class SoftClamp(nn.Module):
    """Keeps latents within 3 standard deviations, softly."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> same shape."""
        return torch.tanh(x / 3) * 3


def _conv(width: int, out: int, *, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(width, out, 3, padding=1, bias=bias)
