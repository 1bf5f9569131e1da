"""What a subject can wear or hold. Units as in ``figure``."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from longlive.storybook.third_edition.world.figure import GOLD, MIDDLE, Figure, hand
from longlive.storybook.third_edition.world.motion import PERIOD, Pose
from longlive.storybook.third_edition.world.shapes import (
    OUTLINE,
    Brush,
    Paint,
    box_distance,
    ellipse_distance,
    limb_distance,
    per_picture,
    rgb,
)


def draw_balloon(brush: Brush, pose: Pose, amount: Tensor, time: Tensor) -> None:
    """A balloon on a string; it stays upright in the air, so it is not drawn in the figure's own frame.

    Args:
        amount: how much of it is there, (N,) in [0, 1].
        time: pictures since the scene began, (N,).
    """
    x, y = hand(pose, -1, amount)
    cos, sin = (pose.angle + pose.lean).cos(), (pose.angle + pose.lean).sin()
    y = y - MIDDLE
    hand_x, hand_y = x * cos - y * sin, x * sin + y * cos + MIDDLE - pose.lift
    sway = 0.12 * torch.sin(2 * math.pi * time / PERIOD) - 0.55 * pose.speed
    centre_x, centre_y = -1.42 + sway, -3.25 - 0.75 * pose.lift
    size = 0.25 + 0.75 * amount
    brush.limb(
        (hand_x, hand_y), (centre_x, centre_y + 0.7), 0.035, 0.035, OUTLINE, line=False, opacity=amount
    )
    red: Paint = rgb("ff3f62")
    u, v = brush.x - per_picture(centre_x), brush.y - per_picture(centre_y)
    brush.shape(
        limb_distance(
            brush.x,
            brush.y,
            (centre_x, centre_y + 0.74 * size),
            (centre_x, centre_y + 0.66 * size),
            0.14,
            0.05,
        ),
        red,
        amount,
    )
    brush.shape(ellipse_distance(u, v, 0.60 * size, 0.70 * size), red, amount)
    brush.fill(ellipse_distance(u + 0.20, v + 0.26, 0.13 * size, 0.18 * size), rgb("ffc2cd"), amount)


def _hat(figure: Figure, amount: Tensor, subject: str) -> None:
    brush, face_x = figure.brush, figure.face_x
    y = (-2.48 if subject == "robot" else -2.50) - 1.1 * (1 - amount)
    x = 0.25 * face_x
    u, v = brush.x - per_picture(x), brush.y - per_picture(y)
    navy: Paint = rgb("343a6e")
    brush.shape(box_distance(u, v + 0.42, 0.44 + 0.10 * (-v).clamp(0, 0.9), 0.42, 0.08), navy, amount)
    brush.fill(box_distance(u, v + 0.14, 0.40, 0.10, 0.02), GOLD, amount)
    brush.shape(ellipse_distance(u, v - 0.02, 0.80, 0.15), navy, amount)


def _scarf(figure: Figure, amount: Tensor, subject: str) -> None:
    brush, pose = figure.brush, figure.pose
    u, v = brush.x, brush.y + 1.06
    wide = 0.72 if subject == "penguin" else 0.58
    red: Paint = rgb("d8263f")
    stripe = ((brush.x * 4.2).remainder(1.0) - 0.5).abs() * 0.24 - 0.06
    neck = ellipse_distance(u, v, wide * amount.clamp(min=0.05), 0.23)
    brush.shape(neck, red, amount)
    brush.fill(torch.maximum(stripe, neck + brush.outline), rgb("fff3dc"), amount)
    end = (0.46 - 0.45 * pose.speed + 0.08 * pose.wag, -0.38 - 0.25 * pose.speed.abs())
    tail = limb_distance(brush.x, brush.y, (0.30, -0.98), end, 0.15, 0.19)
    brush.shape(tail, red, amount)
    stripe = ((brush.y * 3.4).remainder(1.0) - 0.5).abs() * 0.29 - 0.07
    brush.fill(torch.maximum(stripe, tail + brush.outline), rgb("fff3dc"), amount)


def _umbrella(figure: Figure, amount: Tensor, subject: str) -> None:
    brush, pose = figure.brush, figure.pose
    x, y = hand(pose, -1, amount)
    if subject == "penguin":
        x = x - 0.2
    tilt = x + 0.55
    top = -3.42 + 1.2 * (1 - amount)
    brush.limb((x, y + 0.15), (tilt, top), 0.055, 0.055, rgb("8a5a34"), opacity=amount)
    u, v = brush.x - per_picture(tilt), brush.y - per_picture(top)
    open_width = 1.28 * (0.2 + 0.8 * amount)
    lobes = 0.10 * ((u / per_picture(open_width) * 2.0).remainder(1.0) - 0.5).square() * 4
    dome = torch.maximum(ellipse_distance(u, v - 0.42, open_width, 0.86), v - 0.42 - 0.10 + lobes)
    brush.shape(dome, rgb("ffc93c"), amount)
    panel = torch.maximum(dome + brush.outline, ellipse_distance(u, v - 0.42, 0.5 * open_width, 0.95))
    brush.fill(panel, rgb("2fb5b0"), amount)
    brush.limb((tilt, top - 0.40), (tilt, top - 0.56), 0.05, 0.04, rgb("8a5a34"), opacity=amount)


PROP_PAINTERS: dict[str, Callable[[Figure, Tensor, str], None]] = {
    "scarf": _scarf,
    "hat": _hat,
    "umbrella": _umbrella,
}
