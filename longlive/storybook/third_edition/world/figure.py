"""What all subjects are made of: head, body, limbs and face.

Units: the head's radius; the origin is on the ground between the feet, y runs down. Left and right are the
picture's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from longlive.storybook.third_edition.world.motion import Pose
from longlive.storybook.third_edition.world.shapes import (
    OUTLINE,
    Brush,
    Number,
    Paint,
    arc_distance,
    ellipse_distance,
    per_picture,
    rgb,
)

PALETTE = {
    "red": rgb("e8323c"),
    "orange": rgb("ff8a1f"),
    "yellow": rgb("ffd829"),
    "green": rgb("35b24a"),
    "blue": rgb("3b74f0"),
    "purple": rgb("8f46d8"),
    "pink": rgb("ff8fc0"),
    "white": rgb("f6f4ee"),
    "black": rgb("3a3945"),
}
MIDDLE = -1.35
HEAD = (0.0, -1.80)
WHITE: Paint = (1.0, 1.0, 1.0)
BLUSH: Paint = rgb("ff7d92")
PINK: Paint = rgb("ffb3c6")
GOLD: Paint = rgb("ffcf3f")


@dataclass(frozen=True)
class Figure:
    """One subject in each of some pictures: its brush, pose, colours (N, 3) and share of each prop."""

    brush: Brush
    pose: Pose
    colour: Tensor
    light: Tensor
    dark: Tensor
    props: dict[str, Tensor]

    @property
    def face_x(self) -> Tensor:
        """How far the face is moved to the side where the subject looks."""
        return 0.34 * self.pose.facing


def hand(pose: Pose, side: int, hold: Number = 0.0) -> tuple[Tensor, Tensor]:
    """Where a hand is: side -1 (left) or 1 (right); ``hold`` in [0, 1] raises it to hold something up."""
    angle = pose.arm_left if side < 0 else pose.arm_right
    angle = angle + hold * (2.2 - angle)
    reach = 0.52 + 0.5 * (angle - 1).clamp(0, 1)
    return side * (0.46 + reach * angle.sin()), -0.98 + reach * angle.cos()


def draw_arms(figure: Figure, paint: Paint, *, last: float = 0.17) -> None:
    """Both arms, ``last`` wide at the hand; the left one is raised if it holds something."""
    hold = (figure.props["balloon"] + figure.props["umbrella"]).clamp(max=1)
    for side in (-1, 1):
        end = hand(figure.pose, side, hold if side < 0 else 0.0)
        figure.brush.limb((side * 0.42, -1.0), end, 0.19, last, paint)


def draw_feet(figure: Figure, paint: Paint, *, wide: float = 0.34, length: float = 0.27) -> None:
    """Both feet, ``wide`` from the middle and of half-length ``length``."""
    pose = figure.pose
    for side, step in ((-1, pose.step_left), (1, pose.step_right)):
        x = side * wide * (1 - 0.45 * pose.facing.abs()) - side * 0.34 * pose.stride
        figure.brush.ellipse(x + 0.10 * pose.facing, -0.15 - step, length, 0.17, paint)


def draw_body(figure: Figure, *, belly: bool = True) -> None:
    """A round body, with a lighter belly."""
    figure.brush.ellipse(0, -0.72, 0.60, 0.62, figure.colour)
    if belly:
        figure.brush.ellipse(0.45 * figure.face_x, -0.66, 0.36, 0.42, figure.light, line=False)


def draw_head(figure: Figure, rx: float = 1.0, ry: float = 0.86) -> None:
    """A round head of radii ``rx`` and ``ry``, lit from above."""
    figure.brush.ellipse(*HEAD, rx, ry, figure.colour)
    brush = figure.brush
    glow = ellipse_distance(brush.x + 0.30, brush.y - HEAD[1] + 0.42, 0.34, 0.20)
    brush.fill(glow * 0.12, figure.light, 0.55)


def draw_eyes(figure: Figure, *, apart: float = 0.42, y: float = -1.80, size: float = 1.0) -> None:
    """Eyes at height ``y``, open or asleep, and blushing cheeks."""
    brush, pose, face_x = figure.brush, figure.pose, figure.face_x
    awake = 1 - pose.asleep
    for side in (-1, 1):
        x = face_x + side * apart * (1 - 0.12 * pose.facing.abs())
        high = (0.29 * size * awake).clamp(min=0.02)
        brush.fill(oval_distance(brush, x, y, 0.235 * size, high), WHITE, awake)
        dark = oval_distance(
            brush, x + 0.05 * pose.facing, y + 0.02, 0.175 * size, (0.235 * size * awake).clamp(min=0.02)
        )
        brush.fill(dark, OUTLINE, awake)
        brush.fill(
            oval_distance(brush, x + 0.05 * pose.facing - 0.06, y - 0.09 * size, 0.07 * size, 0.075 * size),
            WHITE,
            awake,
        )
        lid = arc_distance(brush.x - per_picture(x), brush.y - y, 0.20 * size, 0.055)
        brush.fill(lid, OUTLINE, pose.asleep)
        brush.fill(oval_distance(brush, x + 0.20 * side, y + 0.36 * size, 0.15, 0.09), BLUSH, 0.65)


def oval_distance(brush: Brush, x: Number, y: Number, rx: Number, ry: Number) -> Tensor:
    """Signed distance of the brush's pixels to an ellipse round (x, y)."""
    return ellipse_distance(brush.x - per_picture(x), brush.y - per_picture(y), rx, ry)


def draw_mouth(figure: Figure, *, x: Number = 0.0, y: float = -1.42, size: float = 1.0) -> None:
    """A smile that opens."""
    brush, pose = figure.brush, figure.pose
    u, v = brush.x - per_picture(figure.face_x + x), brush.y - y
    opened = pose.mouth
    high = 0.04 + 0.20 * size * opened
    mouth = torch.maximum(ellipse_distance(u, v, 0.19 * size, high), -v - 0.01)
    brush.fill(mouth, rgb("8e2440"), opened)
    brush.fill(
        torch.maximum(ellipse_distance(u, v - 0.13 * size, 0.11 * size, 0.07 * size), mouth), PINK, opened
    )
    brush.fill(arc_distance(u, v, 0.15 * size, 0.045), OUTLINE, (1 - opened))


def draw_nose(figure: Figure, y: float, rx: float, ry: float, paint: Paint) -> None:
    """A nose at height ``y``."""
    figure.brush.ellipse(1.15 * figure.face_x, y, rx, ry, paint, line=False)
