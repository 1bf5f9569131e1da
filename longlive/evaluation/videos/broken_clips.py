"""Clips made here, and the ways to break them by which the stand-ins are judged."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from longlive.evaluation.videos.flow import warp
from longlive.storybook.world.drawing import draw_story, random_scene

NUM_FRAMES, FPS = 32, 16
NOISE, JITTER = 4.0, 0.5
"""Standard deviation of the noise in steps of 255, and the largest shift in pixels of the jitter."""


def drawn_clip(seed: int) -> Tensor:
    """A moving subject of the storybook's world: uint8 (32, 3, H, W)."""
    rng = np.random.default_rng([seed, 31])
    return draw_story([(random_scene(rng), NUM_FRAMES)], rng)


def textured_clip(seed: int) -> Tensor:
    """A camera that moves over a texture with a photograph's spectrum, before which an object moves.

    uint8 (32, 3, 80, 128). Amplitudes fall with the frequency, as those of photographs do.
    """
    rng = np.random.default_rng([seed, 32])
    ground, thing = _texture(rng, 160, 256), _texture(rng, 160, 256)
    speed, object_speed = rng.uniform(-0.7, 0.7, 2), rng.uniform(-1.5, 1.5, 2)
    zoom, radius = rng.uniform(-0.002, 0.002), rng.uniform(9, 18)
    down, across = torch.meshgrid(torch.arange(80.0), torch.arange(128.0), indexing="ij")
    pictures = []
    for frame in range(NUM_FRAMES):
        scale = (1 + zoom) ** frame
        x = 128 + (across - 64) * scale + speed[0] * frame
        y = 80 + (down - 40) * scale + speed[1] * frame
        grid = torch.stack([x / 127.5 - 1, y / 79.5 - 1], -1)[None].float()
        picture = functional.grid_sample(ground[None], grid, align_corners=True, padding_mode="reflection")[0]
        x, y = 64 + object_speed[0] * (frame - 16), 40 + object_speed[1] * (frame - 16) / 2
        mask = (radius - ((across - x) ** 2 + (down - y) ** 2).sqrt()).clamp(0, 1)
        picture = picture * (1 - mask) + thing[:, 40:120, 64:192] * mask
        pictures.append(picture)
    return (torch.stack(pictures) * 255).round().to(torch.uint8)


def shuffled(clip: Tensor, other: Tensor, seed: int) -> Tensor:
    """Its pictures in another order."""
    return clip[torch.from_numpy(np.random.default_rng(seed).permutation(len(clip)))]


def mixed(clip: Tensor, other: Tensor, seed: int) -> Tensor:
    """In its second half, another clip's pictures."""
    return torch.cat([clip[: len(clip) // 2], other[len(clip) // 2 :]])


def frozen(clip: Tensor, other: Tensor, seed: int) -> Tensor:
    """Its first picture again and again."""
    return clip[:1].expand_as(clip)


def noisy(clip: Tensor, other: Tensor, seed: int) -> Tensor:
    """With new noise in every picture."""
    noise = np.random.default_rng(seed).normal(0, NOISE, clip.shape)
    return (clip.float() + torch.from_numpy(noise).float()).clamp(0, 255).round().to(torch.uint8)


def jittered(clip: Tensor, other: Tensor, seed: int) -> Tensor:
    """Every picture shifted by a random part of JITTER."""
    shifts = np.random.default_rng(seed).uniform(-JITTER, JITTER, (len(clip), 2))
    flow = torch.from_numpy(shifts).float().view(-1, 2, 1, 1).expand(-1, -1, *clip.shape[-2:])
    return warp(clip.float(), flow).round().to(torch.uint8)


KINDS: dict[str, Callable[[int], Tensor]] = {"drawn": drawn_clip, "textured": textured_clip}
BREAKS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "shuffled": shuffled,
    "mixed": mixed,
    "frozen": frozen,
    "noisy": noisy,
    "jittered": jittered,
}
"""Each of a clip, another of its kind, and a seed."""


def _texture(rng: np.random.Generator, height: int, width: int) -> Tensor:
    """Colours in [0, 1], float32 (3, H, W), with amplitudes of one by the frequency."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None] * width)
    shape = 1 / np.maximum(1, frequency)
    channels = []
    for _ in range(3):
        phases = np.exp(2j * np.pi * rng.random(shape.shape))
        channel = np.fft.irfft2(shape * phases, (height, width))
        channels.append((channel - channel.min()) / np.ptp(channel))
    weights = rng.dirichlet(np.ones(3) * 2, 3)  # the channels of a photograph are alike
    mixed_channels = np.tensordot(weights, np.stack(channels), 1)
    return torch.from_numpy(mixed_channels.astype(np.float32))
