"""Rain, snow, and bubbles under water: patterns with a period, a pure function of the picture's number."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from longlive.storybook.third_edition.world.shapes import ellipse_distance, limb_distance

PERIOD = 24
KINDS = ("rain", "snow", "bubbles")
TINTS = {"rain": (0.66, (0.13, 0.15, 0.19)), "snow": (0.74, (0.20, 0.21, 0.24))}
FALLING_PAINTS = {"rain": (0.86, 0.93, 1.0), "snow": (1.0, 1.0, 1.0), "bubbles": (0.88, 0.98, 1.0)}
_OPACITY = {"rain": 0.60, "snow": 0.92, "bubbles": 0.75}
_ROWS, _COLUMNS, _MARGIN = 3, 7, 0.1


def add_weather(pictures: Tensor, amounts: Tensor, time: Tensor) -> None:
    """Draw rain, snow or bubbles into pictures, in place.

    Args:
        pictures: (N, 3, H, W) in [0, 1].
        amounts: (N, 3), how much of each of ``KINDS``.
        time: pictures since the story began, (N,), integers.
    """
    device = pictures.device
    for index, kind in enumerate(KINDS):
        amount = amounts[:, index].view(-1, 1, 1, 1)
        if not bool((amount > 0).any()):
            continue
        if kind in TINTS:
            pictures.lerp_(tint(pictures, kind), amount)
        falling = falling_cover(kind, *pictures.shape[2:], str(device))[time % PERIOD][:, None]
        paint = torch.tensor(FALLING_PAINTS[kind], device=device).view(1, 3, 1, 1)
        pictures.lerp_(paint, falling * amount)


def tint(pictures: Tensor, weather: str) -> Tensor:
    """Pictures (..., 3, H, W) in the light of a weather; the same pictures in fine weather."""
    if weather not in TINTS:
        return pictures
    share, light = TINTS[weather]
    return pictures * share + torch.tensor(light, device=pictures.device).view(3, 1, 1)


@lru_cache(maxsize=12)
def falling_cover(kind: str, height: int, width: int, device: str) -> Tensor:
    """How much each pixel is covered at each picture of a period: (PERIOD, H, W) in [0, 1]."""
    time = torch.arange(PERIOD, device=device)[:, None, None] / PERIOD
    y = ((torch.arange(height, device=device) + 0.5) / height)[None, :, None]
    x = ((torch.arange(width, device=device) + 0.5) / height)[None, None, :]
    wide, reach = width / height, 1 + 2 * _MARGIN
    covered = torch.zeros(PERIOD, height, width, device=device)
    for row in range(_ROWS):
        for column in range(_COLUMNS):
            fallen = (time + (row + 0.37 * (column * 5 % 7) / 2) / _ROWS) % 1
            down = fallen * reach - _MARGIN
            sway = 0.03 * torch.sin(2 * math.pi * (time + column / _COLUMNS))
            drift = -0.22 * down if kind == "rain" else sway
            centre = wide * (column + 0.5 + 0.5 * (row % 2)) / _COLUMNS + drift
            down = 1 - down if kind == "bubbles" else down
            across = (x - centre + wide / 2) % wide - wide / 2
            distance = _DROPS[kind](across, y - down)
            covered = torch.maximum(covered, (0.5 - distance * height).clamp(0, 1))
    return covered * _OPACITY[kind]


def _drop(x: Tensor, y: Tensor) -> Tensor:
    return limb_distance(x, y, (0.011, -0.05), (-0.011, 0.05), 0.006, 0.011)


def _flake(x: Tensor, y: Tensor) -> Tensor:
    return ellipse_distance(x, y, 0.019, 0.019)


def _bubble(x: Tensor, y: Tensor) -> Tensor:
    ring = ellipse_distance(x, y, 0.020, 0.020).abs() - 0.004
    return torch.minimum(ring, ellipse_distance(x + 0.007, y + 0.007, 0.006, 0.006))


_DROPS = {"rain": _drop, "snow": _flake, "bubbles": _bubble}
