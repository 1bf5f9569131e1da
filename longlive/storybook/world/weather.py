"""The weather of the picture-book world: a tinted light over the setting, and drops or flakes that fall.

Everything falls on fixed paths that repeat, so that the picture's number alone says where each drop is.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

WEATHERS = ("clear", "rain", "snow")
PERIODS = {"rain": 24, "snow": 48}

_TINTS = {"rain": (0.70, (0.10, 0.13, 0.19)), "snow": (0.72, (0.22, 0.23, 0.26))}
_PAINTS = {"rain": (0.80, 0.90, 1.00), "snow": (1.00, 1.00, 1.00)}
_OPACITY = {"rain": 0.45, "snow": 0.75}
_ROWS, _COLUMNS = 3, 6
_MARGIN = 8


def add_weather(pictures: Tensor, amounts: Tensor) -> None:
    """Let it rain or snow, in place.

    Args:
        pictures: backdrops of consecutive pictures of a story from its first, float (F, 3, H, W) in [0, 1].
        amounts: (F, 3), how much of each of ``WEATHERS`` each picture has, in [0, 1].
    """
    frames = torch.arange(len(pictures))
    for index, weather in enumerate(WEATHERS):
        if weather == "clear" or not amounts[:, index].any():
            continue
        amount = amounts[:, index].view(-1, 1, 1, 1)
        pictures += amount * (tinted(pictures, weather) - pictures)
        falling = _falling(weather, *pictures.shape[2:])[frames % PERIODS[weather]][:, None]
        pictures += amount * falling * (torch.tensor(_PAINTS[weather]).view(3, 1, 1) - pictures)


def tinted(pictures: Tensor, weather: str) -> Tensor:
    """Backdrops (..., 3, H, W) in the light of some weather, without what falls."""
    if weather == "clear":
        return pictures
    share, light = _TINTS[weather]
    return pictures * share + torch.tensor(light).view(3, 1, 1)


@lru_cache(maxsize=len(PERIODS))
def _falling(weather: str, height: int, width: int) -> Tensor:
    """How much each pixel is covered by drops or flakes, at each picture of a period: (P, H, W) in [0, 1]."""
    period, reach = PERIODS[weather], height + 2 * _MARGIN
    time = torch.arange(period) / period
    rows, columns = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    covered = torch.zeros(period, height, width)
    for row in range(_ROWS):
        for column in range(_COLUMNS):
            fallen = (time + (row + 0.37 * (column * 5 % 7) / 2) / _ROWS) % 1
            y = fallen * reach - _MARGIN
            x = width * (column + 0.5 + 0.5 * (row % 2)) / _COLUMNS
            sway = -0.25 * y if weather == "rain" else 3 * torch.sin(2 * math.pi * (time + column / _COLUMNS))
            across = (columns[None] - x - sway[:, None] + width / 2) % width - width / 2
            down = rows[None] - y[:, None]
            covered = torch.maximum(covered, _drop(weather, across[:, None, :], down[:, :, None]))
    return covered * _OPACITY[weather]


def _drop(weather: str, across: Tensor, down: Tensor) -> Tensor:
    """Cover of one drop or flake at points given from its centre, in pixels."""
    if weather == "snow":
        return (2.9 - (across.square() + down.square()).sqrt()).clamp(0, 1.5) / 1.5
    along = down.clamp(-4.5, 4.5)
    return (2.0 - ((across + 0.25 * along).square() + (down - along).square()).sqrt()).clamp(0, 1.5) / 1.5
