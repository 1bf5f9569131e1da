"""Painting by signed distances: soft-edged shapes on a batch of canvases, at any size, on any device.

Coordinates are in any unit; a brush knows how many pixels a unit has. x runs to the
right, y down. A number may be the same for all pictures or a tensor (N,) with one for each.
"""

from functools import lru_cache

import torch
from torch import Tensor

Number = float | Tensor
Paint = Tensor | tuple[float, float, float]

OUTLINE = (0.16, 0.11, 0.20)


def rgb(colour: str) -> tuple[float, float, float]:
    """``"7cc4f2"`` -> three numbers in [0, 1]."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return red, green, blue


def per_picture(value: Number) -> Number:
    """A value per picture, (N,), shaped so that it broadcasts to (N, H, W); other values as they are."""
    return value[:, None, None] if isinstance(value, Tensor) and value.dim() == 1 else value


def ellipse_distance(x: Tensor, y: Tensor, rx: Number, ry: Number) -> Tensor:
    """Signed distance of points, given from the centre, to an ellipse; near the edge almost exact."""
    rx, ry = per_picture(rx), per_picture(ry)
    u, v = x / rx, y / ry
    near = (u * u + v * v).clamp(min=1e-6).sqrt()
    steep = ((u / rx) ** 2 + (v / ry) ** 2).clamp(min=1e-6).sqrt()
    return near * (near - 1) / steep


def limb_distance(
    x: Tensor,
    y: Tensor,
    start: tuple[Number, Number],
    end: tuple[Number, Number],
    first: Number,
    last: Number,
) -> Tensor:
    """Signed distance to a thick line with round ends: radius ``first`` at its start, ``last`` at its end."""
    (ax, ay), (bx, by) = (
        (per_picture(start[0]), per_picture(start[1])),
        (per_picture(end[0]), per_picture(end[1])),
    )
    dx, dy = bx - ax, by - ay
    length = dx * dx + dy * dy + 1e-9
    along = (((x - ax) * dx + (y - ay) * dy) / length).clamp(0, 1)
    reach = ((x - ax - along * dx) ** 2 + (y - ay - along * dy) ** 2).clamp(min=1e-9).sqrt()
    return reach - (per_picture(first) + along * (per_picture(last) - per_picture(first)))


def box_distance(x: Tensor, y: Tensor, half_width: Number, half_height: Number, corner: float) -> Tensor:
    """Signed distance of points, given from the centre, to a rectangle with round corners."""
    p, q = x.abs() - per_picture(half_width) + corner, y.abs() - per_picture(half_height) + corner
    outside = (p.clamp(min=0) ** 2 + q.clamp(min=0) ** 2).clamp(min=1e-12).sqrt()
    return outside + torch.maximum(p, q).clamp(max=0) - corner


def arc_distance(x: Tensor, y: Tensor, radius: Number, thickness: float, *, upper: bool = False) -> Tensor:
    """Signed distance to the lower (or upper) half of a ring with round ends, given from its centre."""
    side = -y if upper else y
    ring = ((x * x + y * y).clamp(min=1e-9).sqrt() - per_picture(radius)).abs()
    ends = ((x.abs() - per_picture(radius)) ** 2 + y * y).clamp(min=1e-9).sqrt()
    return torch.where(side > 0, ring, ends) - thickness


class Brush:
    """Paints shapes into pictures, in place.

    Args:
        pictures: float (N, 3, H, W) in [0, 1].
        x, y: coordinates of the pixels' centres, (N, H, W) or what broadcasts to it.
        scale: pixels of a unit.
        outline: width of outlines, in units.
    """

    def __init__(self, pictures: Tensor, x: Tensor, y: Tensor, scale: float, outline: float) -> None:
        self.pictures, self.x, self.y = pictures, x, y
        self.scale, self.outline = scale, outline

    def fill(self, distance: Tensor, paint: Paint, opacity: Number = 1.0) -> None:
        """Colour what lies inside."""
        cover = (0.5 - distance * self.scale).clamp_(0, 1) * per_picture(opacity)
        self.pictures.lerp_(self._paint(paint), cover[:, None])

    def shape(self, distance: Tensor, paint: Paint, opacity: Number = 1.0) -> None:
        """Colour what lies inside and draw a dark line along the edge."""
        self.fill(distance, OUTLINE, opacity)
        self.fill(distance + self.outline, paint, opacity)

    def ellipse(
        self, x: Number, y: Number, rx: Number, ry: Number, paint: Paint, *, line: bool = True
    ) -> None:
        """An ellipse round (x, y)."""
        draw = self.shape if line else self.fill
        draw(ellipse_distance(self.x - per_picture(x), self.y - per_picture(y), rx, ry), paint)

    def limb(
        self,
        start: tuple[Number, Number],
        end: tuple[Number, Number],
        first: Number,
        last: Number,
        paint: Paint,
        *,
        line: bool = True,
        opacity: Number = 1.0,
    ) -> None:
        """A thick line with round ends."""
        draw = self.shape if line else self.fill
        draw(limb_distance(self.x, self.y, start, end, first, last), paint, opacity)

    def box(
        self,
        x: Number,
        y: Number,
        half_width: Number,
        half_height: Number,
        paint: Paint,
        *,
        corner: float = 0.05,
        line: bool = True,
    ) -> None:
        """A rectangle with round corners."""
        draw = self.shape if line else self.fill
        draw(
            box_distance(self.x - per_picture(x), self.y - per_picture(y), half_width, half_height, corner),
            paint,
        )

    def _paint(self, paint: Paint) -> Tensor:
        return paint[:, :, None, None] if isinstance(paint, Tensor) else _on(paint, self.pictures.device)


@lru_cache(maxsize=256)
def _on(paint: tuple[float, float, float], device: torch.device) -> Tensor:
    """A colour as a tensor (1, 3, 1, 1) that stays on a device: copying it there would wait each time."""
    return torch.tensor(paint, device=device).view(1, 3, 1, 1)


def turned(x: Tensor, y: Tensor, angle: Tensor, centre_y: float) -> tuple[Tensor, Tensor]:
    """Coordinates of pixels in a frame that is turned clockwise by ``angle`` round (0, centre_y)."""
    cos, sin = per_picture(angle.cos()), per_picture(angle.sin())
    y = y - centre_y
    return x * cos + y * sin, y * cos - x * sin + centre_y
