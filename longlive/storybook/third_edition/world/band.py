"""A band of scenery that scrolls past and meets itself at its ends, and what many settings share.

Units: the picture's height, x to the right, y down.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from longlive.storybook.third_edition.world.shapes import box_distance, ellipse_distance, limb_distance, rgb

PERIOD = 3.2
Colour = tuple[float, float, float]
_GRADES: dict[str, tuple[Colour, Colour]] = {
    "day": ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)),
    "dusk": ((0.92, 0.66, 0.66), (0.06, 0.01, 0.05)),
    "night": ((0.30, 0.38, 0.58), (0.01, 0.02, 0.06)),
}


class Band:
    """One painted band, with what shows through it; every shape repeats after ``PERIOD``.

    Attributes:
        light: the time of day; colours are seen in it unless they shine by themselves.
    """

    def __init__(self, height: int, light: str, device: torch.device | str) -> None:
        self.height, self.light, self.device = height, light, device
        columns = round(PERIOD * height)
        self.x = ((torch.arange(columns, device=device) + 0.5) / height)[None, :]
        self.y = ((torch.arange(height, device=device) + 0.5) / height)[:, None]
        self.paint = torch.zeros(4, height, columns, device=device)

    def fill(
        self,
        distance: Tensor,
        colour: str,
        bottom: str | None = None,
        *,
        shines: bool = False,
        opacity: float = 1.0,
    ) -> None:
        """Colour what lies inside a signed distance; with ``bottom``, as a gradient down to that colour."""
        cover = (0.5 - distance * self.height).clamp(0, 1)[None] * opacity
        paint = self._seen(colour, shines)
        if bottom is not None:
            weight = ((self.y - 0.55) / 0.45).clamp(0, 1)[None]
            paint = paint + weight * (self._seen(bottom, shines) - paint)
        self.paint[:3] = self.paint[:3] * (1 - cover) + paint * cover
        self.paint[3:] = self.paint[3:] * (1 - cover) + cover

    def sky(self, *colours: str, foot: float = 0.7) -> None:
        """A gradient through some colours, from the top down to ``foot``."""
        place = (self.y / foot).clamp(0, 1)[None] * (len(colours) - 1)
        paint = torch.zeros_like(self.paint[:3])
        for index, colour in enumerate(colours):
            weight = (1 - (place - index).abs()).clamp(min=0)
            paint = paint + weight * torch.tensor(rgb(colour), device=self.device).view(3, 1, 1)
        self.paint[:3], self.paint[3] = paint, 1.0

    def disc(self, x: float, y: float, rx: float, colour: str, ry: float | None = None, **how: Any) -> None:
        """An ellipse round (x, y)."""
        self.fill(ellipse_distance(self.across(x), self.y - y, rx, rx if ry is None else ry), colour, **how)

    def box(
        self,
        x: float,
        top: float,
        half: float,
        foot: float,
        colour: str,
        corner: float = 0.004,
        **how: Any,
    ) -> None:
        """An upright rectangle from ``top`` to ``foot``."""
        middle, high = (top + foot) / 2, (foot - top) / 2
        self.fill(box_distance(self.across(x), self.y - middle, half, high, corner), colour, **how)

    def triangle(self, x: float, top: float, half: float, foot: float, colour: str, **how: Any) -> None:
        """An upright triangle."""
        high = foot - top
        side = (self.across(x).abs() - (self.y - top) * (half / high)) * (high / math.hypot(half, high))
        self.fill(torch.maximum(torch.maximum(side, self.y - foot), top - self.y), colour, **how)

    def limb(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        first: float,
        last: float,
        colour: str,
        **how: Any,
    ) -> None:
        """A thick line with round ends, in a frame that begins at ``start``'s x."""
        x = self.across(start[0])
        distance = limb_distance(x, self.y, (0.0, start[1]), (end[0] - start[0], end[1]), first, last)
        self.fill(distance, colour, **how)

    def ground(
        self, base: float, swing: float, waves: int, phase: float, colour: str, bottom: str | None = None
    ) -> None:
        """Rolling ground below a wave."""
        edge = base + swing * torch.sin(2 * math.pi * (waves * self.x / PERIOD + phase))
        self.fill(edge - self.y, colour, bottom)

    def below(self, y: float, colour: str, bottom: str | None = None) -> None:
        """Everything below a height."""
        self.fill(y - self.y + 0 * self.x, colour, bottom)

    def across(self, x: float) -> Tensor:
        """Distance of each column to the right of ``x``, (1, columns), the short way round."""
        return (self.x - x + PERIOD / 2) % PERIOD - PERIOD / 2

    def _seen(self, colour: str, shines: bool) -> Tensor:
        times, plus = _GRADES["day" if shines else self.light]
        graded = [c * t + p for c, t, p in zip(rgb(colour), times, plus, strict=True)]
        return torch.tensor(graded, device=self.device).view(3, 1, 1)


def paint_clouds(band: Band, *places: tuple[float, float, float]) -> None:
    """Clouds round places (x, y) of relative sizes, in the colour of the time of day."""
    colour = {"day": "ffffff", "dusk": "ffc9b0", "night": "8f9ac0"}[band.light]
    for x, y, size in places:
        for dx, r in ((-0.11, 0.05), (0.0, 0.075), (0.11, 0.055)):
            band.disc(x + dx * size, y, r * size, colour, 0.72 * r * size, shines=True)
        band.box(x, y, 0.15 * size, y + 0.038 * size, colour, corner=0.018 * size, shines=True)


def paint_open_sky(band: Band) -> None:
    """The sky of a time of day, with the sun, a low sun, or moon and stars."""
    if band.light == "day":
        band.sky("5bb8f5", "a6dcfa", "e4f6fd")
        band.disc(0.26, 0.19, 0.125, "fff6c4", shines=True, opacity=0.5)
        band.disc(0.26, 0.19, 0.095, "ffe680", shines=True)
    elif band.light == "dusk":
        band.sky("4d3f8f", "c8609a", "ff9e6b", "ffd79a")
        band.disc(0.34, 0.46, 0.17, "ffb56b", shines=True, opacity=0.5)
        band.disc(0.34, 0.46, 0.125, "fff0b0", shines=True)
    else:
        band.sky("0c1236", "1c2a63", "3c4f8f")
        paint_stars(band)
        band.disc(1.26, 0.18, 0.10, "fdf6d0", shines=True)
        band.disc(1.215, 0.155, 0.085, "141d4c", shines=True)


def paint_stars(band: Band) -> None:
    """Stars over the upper third."""
    places = (
        (0.10, 0.08),
        (0.30, 0.20),
        (0.47, 0.07),
        (0.68, 0.15),
        (0.88, 0.06),
        (1.02, 0.27),
        (1.46, 0.30),
        (0.16, 0.34),
        (1.52, 0.07),
        (0.58, 0.32),
        (0.83, 0.24),
    )
    for index, (x, y) in enumerate(places):
        band.disc(x, y, 0.009 + 0.004 * (index % 3), "fffbe0", shines=True)


def paint_tree(band: Band, x: float, foot: float, size: float, leaves: str, trunk: str = "8a5f3c") -> None:
    """A round tree that stands at (x, foot); of height 0.4 at size 1."""
    band.box(x, foot - 0.16 * size, 0.022 * size, foot, trunk)
    for dx, dy, r in ((-0.075, -0.22, 0.085), (0.075, -0.22, 0.085), (0.0, -0.30, 0.10)):
        band.disc(x + dx * size, foot + dy * size, r * size, leaves)


def paint_fir(band: Band, x: float, foot: float, size: float, leaves: str, snow: str | None = None) -> None:
    """A fir that stands at (x, foot); ``snow`` is the colour of what lies on its branches."""
    band.box(x, foot - 0.06 * size, 0.02 * size, foot, "6d4c33")
    for index in range(3):
        top = foot - (0.20 + 0.13 * index) * size
        half = (0.13 - 0.026 * index) * size
        band.triangle(x, top - 0.08 * size, half, top + 0.15 * size, leaves)
        if snow is not None:
            band.triangle(x, top - 0.08 * size, 0.36 * half, top, snow)


def paint_flower(band: Band, x: float, y: float, colour: str) -> None:
    """A flower of five petals round (x, y)."""
    for angle in range(5):
        a = 2 * math.pi * angle / 5
        band.disc(x + 0.020 * math.sin(a), y - 0.020 * math.cos(a), 0.013, colour)
    band.disc(x, y, 0.011, "ffcf3f")


Painter = Callable[[Band], None]
"""Paints one band of a setting, or its sky."""
