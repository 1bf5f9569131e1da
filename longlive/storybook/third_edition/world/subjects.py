"""The six subjects, and how one is drawn with its pose, colour and props."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from longlive.storybook.third_edition.world.figure import (
    GOLD,
    HEAD,
    MIDDLE,
    PINK,
    WHITE,
    Figure,
    draw_arms,
    draw_body,
    draw_eyes,
    draw_feet,
    draw_head,
    draw_mouth,
    draw_nose,
    hand,
    oval_distance,
)
from longlive.storybook.third_edition.world.motion import PERIOD, Pose
from longlive.storybook.third_edition.world.props import PROP_PAINTERS, draw_balloon
from longlive.storybook.third_edition.world.shapes import (
    OUTLINE,
    Brush,
    Paint,
    arc_distance,
    ellipse_distance,
    limb_distance,
    per_picture,
    rgb,
    turned,
)

BEAK: Paint = rgb("ff9d2e")
LINE = 0.075
"""Width of the outlines, in head radii."""


def draw_figure(
    pictures: Tensor,
    x: Tensor,
    y: Tensor,
    scale: float,
    subject: str,
    pose: Pose,
    colour: Tensor,
    props: dict[str, Tensor],
    time: Tensor,
    line: float | None = None,
) -> None:
    """Draw one kind of subject into pictures, in place.

    Args:
        pictures: float (N, 3, H, W) in [0, 1].
        x, y: the pixels' places in units of the head's radius, from between the feet, (1, H, W).
        scale: pixels of a unit.
        subject: one of ``SUBJECTS``.
        pose: tensors (N,).
        colour: (N, 3).
        props: for each prop how much of it is there, (N,) in [0, 1].
        time: pictures since the scene began, (N,).
        line: width of the outlines in units; None for ``LINE``, or just over a pixel if that is wider.
    """
    line = max(LINE, 1.1 / scale) if line is None else line
    air = Brush(pictures, x, y, scale, line)
    _shadow(air, pose)
    if bool((props["balloon"] > 0).any()):
        draw_balloon(air, pose, props["balloon"], time)
    u, v = x, y + per_picture(pose.lift)
    u, v = turned(u, v, pose.angle, MIDDLE)
    u, v = turned(u, v, pose.lean, 0.0)
    squash = pose.squash[:, None, None]
    brush = Brush(pictures, u * squash.sqrt(), v / squash, scale, line)
    light, dark = 0.42 * colour + 0.58, 0.74 * colour
    figure = Figure(brush, pose, colour, light, dark, props)
    _SUBJECTS[subject](figure)
    for prop, draw in PROP_PAINTERS.items():
        if bool((props[prop] > 0).any()):
            draw(figure, props[prop], subject)
    _signs(air, pose, time)


def _cat(figure: Figure) -> None:
    brush, pose, colour = figure.brush, figure.pose, figure.colour
    tip = 0.30 * pose.wag
    brush.limb((0.45, -0.45), (1.02, -0.62), 0.15, 0.14, colour)
    brush.limb((1.02, -0.62), (1.20 + tip, -1.12), 0.15, 0.12, colour)
    for side in (-1, 1):
        brush.limb((side * 0.58, -2.22), (side * 0.86, -2.78), 0.40, 0.06, colour)
        brush.limb((side * 0.60, -2.28), (side * 0.79, -2.62), 0.20, 0.04, PINK, line=False)
    draw_feet(figure, colour)
    draw_body(figure)
    draw_arms(figure, colour)
    draw_head(figure)
    for side in (-1, 0, 1):
        brush.limb(
            (side * 0.20, -2.56 + 0.03 * abs(side)),
            (side * 0.15, -2.36),
            0.055,
            0.03,
            figure.dark,
            line=False,
        )
    brush.ellipse(figure.face_x, -1.45, 0.40, 0.24, figure.light, line=False)
    draw_eyes(figure)
    draw_nose(figure, -1.56, 0.085, 0.06, rgb("e0557a"))
    draw_mouth(figure, y=-1.46)
    for side in (-1, 1):
        for lift in (0.0, 0.13):
            start = (side * 0.66 + figure.face_x, -1.50 + lift)
            brush.limb(
                start,
                (side * 1.08 + 0.8 * figure.face_x, -1.56 + 1.6 * lift),
                0.022,
                0.022,
                OUTLINE,
                line=False,
            )


def _dog(figure: Figure) -> None:
    brush, pose, colour = figure.brush, figure.pose, figure.colour
    brush.limb((0.42, -0.50), (0.92 + 0.12 * pose.wag, -1.02), 0.15, 0.09, colour)
    draw_feet(figure, colour)
    draw_body(figure)
    draw_arms(figure, colour)
    draw_head(figure, 0.96, 0.86)
    brush.ellipse(figure.face_x + 0.40, -1.84, 0.36, 0.44, figure.dark, line=False)
    brush.ellipse(1.1 * figure.face_x, -1.38, 0.50, 0.36, figure.light, line=False)
    draw_eyes(figure, apart=0.38, y=-1.88)
    draw_nose(figure, -1.58, 0.17, 0.125, OUTLINE)
    draw_mouth(figure, y=-1.38, size=1.1)
    tongue = figure.brush
    tongue.limb(
        (1.1 * figure.face_x + 0.06, -1.24),
        (1.1 * figure.face_x + 0.06, -1.10),
        0.10,
        0.10,
        rgb("ff6f86"),
        line=False,
        opacity=1 - pose.asleep,
    )
    flop = 0.16 * pose.lift.clamp(max=1) + 0.06 * pose.wag
    for side in (-1, 1):
        brush.limb((side * 0.80, -2.34), (side * (1.12 + flop), -1.62 - flop), 0.20, 0.30, figure.dark)


def _rabbit(figure: Figure) -> None:
    brush, pose, colour = figure.brush, figure.pose, figure.colour
    brush.ellipse(0.62, -0.42, 0.22, 0.22, WHITE)
    bend = 0.14 * pose.wag - 0.15 * pose.facing
    for side in (-1, 1):
        tip = (side * 0.50 + bend, -3.30)
        brush.limb((side * 0.38, -2.42), tip, 0.24, 0.21, colour)
        brush.limb((side * 0.38, -2.50), tip, 0.11, 0.09, PINK, line=False)
    draw_feet(figure, colour, length=0.33)
    draw_body(figure)
    draw_arms(figure, colour)
    draw_head(figure, 0.94, 0.84)
    brush.ellipse(figure.face_x, -1.42, 0.36, 0.22, figure.light, line=False)
    draw_eyes(figure, apart=0.40)
    draw_nose(figure, -1.56, 0.08, 0.06, rgb("e0557a"))
    draw_mouth(figure, y=-1.47, size=0.9)
    for side in (-1, 1):
        brush.box(figure.face_x + side * 0.065, -1.30, 0.055, 0.09, WHITE, corner=0.03, line=False)


def _penguin(figure: Figure) -> None:
    brush, pose, colour, face_x = figure.brush, figure.pose, figure.colour, figure.face_x
    draw_feet(figure, BEAK, length=0.30)
    hold = (figure.props["balloon"] + figure.props["umbrella"]).clamp(max=1)
    for side in (-1, 1):
        end_x, end_y = hand(pose, side, hold if side < 0 else 0.0)
        brush.limb((side * 0.62, -1.12), (end_x + side * 0.22, end_y + 0.02), 0.22, 0.10, colour)
    brush.ellipse(0, -0.86, 0.80, 0.78, colour)
    brush.ellipse(*HEAD, 0.90, 0.86, colour)
    brush.ellipse(0.6 * face_x, -0.74, 0.54, 0.60, WHITE, line=False)
    for side in (-1, 1):
        brush.ellipse(face_x + side * 0.34, -1.78, 0.40, 0.46, WHITE, line=False)
    brush.ellipse(0.9 * face_x, -1.46, 0.50, 0.30, WHITE, line=False)
    draw_eyes(figure, apart=0.34, y=-1.84)
    # the beak opens
    opened = 0.10 * pose.mouth
    brush.ellipse(1.3 * face_x, -1.47 + opened, 0.20, 0.10 + opened, rgb("d9741a"))
    brush.ellipse(1.3 * face_x, -1.53, 0.26, 0.125, BEAK)
    for x, y in ((0.0, -2.84), (0.12, -2.76)):
        brush.limb((0.0, -2.62), (x + 0.05 * pose.wag, y), 0.07, 0.04, colour)


def _robot(figure: Figure) -> None:
    brush, pose, colour, face_x = figure.brush, figure.pose, figure.colour, figure.face_x
    steel: Paint = rgb("b9c4d2")
    glow = 0.5 + 0.5 * pose.wag
    brush.limb((0.0, -2.55), (0.10 * pose.wag, -2.98), 0.06, 0.06, steel)
    lamp = torch.stack([torch.ones_like(glow), 0.35 + 0.5 * glow, torch.full_like(glow, 0.25)], -1)
    brush.ellipse(0.10 * pose.wag, -3.06, 0.16, 0.16, lamp)
    for side in (-1, 1):
        brush.box(side * 1.0, -1.82, 0.14, 0.26, steel)
    for side, step in ((-1, pose.step_left), (1, pose.step_right)):
        foot = side * 0.32 - side * 0.30 * pose.stride
        brush.box(foot, -0.16 - step, 0.27, 0.16, steel, corner=0.08)
    draw_arms(figure, steel, last=0.20)
    brush.box(0, -0.72, 0.58, 0.50, colour, corner=0.16)
    brush.box(0.45 * face_x, -0.72, 0.32, 0.26, figure.light, corner=0.08, line=False)
    for x, paint in ((-0.17, rgb("ff5a5f")), (0.0, GOLD), (0.17, rgb("4cd07d"))):
        brush.ellipse(0.45 * face_x + x, -0.76, 0.07, 0.07, paint, line=False)
    brush.box(*HEAD, 0.94, 0.76, colour, corner=0.26)
    brush.box(0.8 * face_x, -1.82, 0.66, 0.50, rgb("2a3350"), corner=0.20, line=False)
    for side in (-1, 1):
        eye, y = face_x + side * 0.30, -1.90
        brush.fill(
            oval_distance(brush, eye, y, 0.20, (0.23 * (1 - pose.asleep)).clamp(min=0.02)),
            rgb("7df3ff"),
            1 - pose.asleep,
        )
        brush.fill(oval_distance(brush, eye - 0.06, y - 0.08, 0.06, 0.06), WHITE, 1 - pose.asleep)
        brush.fill(
            arc_distance(brush.x - per_picture(eye), brush.y - y, 0.16, 0.05), rgb("7df3ff"), pose.asleep
        )
    u, v = brush.x - per_picture(face_x), brush.y + 1.62
    brush.fill(arc_distance(u, v, 0.15, 0.05), rgb("7df3ff"), 1 - pose.mouth)
    brush.fill(torch.maximum(ellipse_distance(u, v, 0.22, 0.19), -v), rgb("7df3ff"), pose.mouth)


def _dragon(figure: Figure) -> None:
    brush, pose, colour, face_x = figure.brush, figure.pose, figure.colour, figure.face_x
    flap = 0.55 * pose.arm_right
    for side in (-1, 1):
        tip = (side * (1.25 + 0.12 * flap), -1.20 - 0.65 * flap)
        brush.limb((side * 0.40, -0.95), tip, 0.30, 0.10, figure.dark)
        brush.limb((side * 0.40, -0.80), (tip[0] - side * 0.12, tip[1] + 0.42), 0.28, 0.08, figure.dark)
    brush.limb((0.40, -0.32), (1.02, -0.24), 0.26, 0.15, colour)
    brush.limb((1.02, -0.24), (1.32, -0.52 - 0.15 * pose.wag), 0.15, 0.06, colour)
    for y in (-2.62, -2.36):
        brush.limb((0.0, y + 0.10), (0.0, y - 0.22), 0.17, 0.03, GOLD)
    for side in (-1, 1):
        brush.limb((side * 0.46, -2.42), (side * 0.66, -2.92), 0.16, 0.05, rgb("fff0c9"))
        brush.limb((side * 0.84, -1.95), (side * 1.22, -2.18), 0.20, 0.04, figure.dark)
    draw_feet(figure, colour, length=0.30)
    brush.ellipse(0, -0.72, 0.62, 0.64, colour)
    brush.ellipse(0.45 * face_x, -0.66, 0.40, 0.48, rgb("fff0c9"), line=False)
    for y in (-0.88, -0.68, -0.48):
        brush.limb(
            (0.45 * face_x - 0.22, y), (0.45 * face_x + 0.22, y), 0.025, 0.025, rgb("e0b96a"), line=False
        )
    draw_arms(figure, colour)
    draw_head(figure, 0.94, 0.82)
    brush.ellipse(1.2 * face_x, -1.44, 0.56, 0.34, figure.light)
    for side in (-1, 1):
        brush.ellipse(1.3 * face_x + side * 0.20, -1.58, 0.055, 0.065, OUTLINE, line=False)
    draw_eyes(figure, apart=0.40, y=-1.96)
    draw_mouth(figure, x=0.2 * face_x, y=-1.40)


_SUBJECTS: dict[str, Callable[[Figure], None]] = {
    "cat": _cat,
    "dog": _dog,
    "rabbit": _rabbit,
    "penguin": _penguin,
    "robot": _robot,
    "dragon": _dragon,
}


def _shadow(brush: Brush, pose: Pose) -> None:
    wide = (1.05 - 0.30 * pose.lift).clamp(min=0.5)
    soft = ellipse_distance(brush.x, brush.y - 0.02, wide, 0.2 * wide)
    brush.fill(soft * 0.35, (0.05, 0.04, 0.10), 0.30)


def _signs(brush: Brush, pose: Pose, time: Tensor) -> None:
    """The letters Z that rise from a sleeper, and the notes from a dancer."""
    for index in (0, 1):
        phase = (time / PERIOD + index / 2).remainder(1.0)
        seen = (torch.sin(math.pi * phase) * 1.6).clamp(max=1)
        if bool((pose.asleep > 0).any()):
            size = 0.16 + 0.16 * phase
            x, y = 0.95 + 0.75 * phase, -2.15 - 1.15 * phase
            for start, end in (((-1, -1), (1, -1)), ((1, -1), (-1, 1)), ((-1, 1), (1, 1))):
                a, b = (x + start[0] * size, y + start[1] * size), (x + end[0] * size, y + end[1] * size)
                _sign(brush, limb_distance(brush.x, brush.y, a, b, 0.055, 0.055), pose.asleep * seen)
        if bool((pose.music > 0).any()):
            side = 1 if index else -1
            x, y = side * (1.35 + 0.25 * torch.sin(2 * math.pi * phase)), -1.7 - 1.15 * phase
            note = ellipse_distance(brush.x - per_picture(x), brush.y - per_picture(y), 0.15, 0.12)
            stem = limb_distance(brush.x, brush.y, (x + 0.12, y), (x + 0.12, y - 0.48), 0.04, 0.04)
            flag = limb_distance(brush.x, brush.y, (x + 0.12, y - 0.48), (x + 0.34, y - 0.30), 0.06, 0.03)
            _sign(brush, torch.minimum(torch.minimum(note, stem), flag), pose.music * seen)


def _sign(brush: Brush, distance: Tensor, opacity: Tensor) -> None:
    brush.fill(distance - 0.055, OUTLINE, opacity)
    brush.fill(distance, WHITE, opacity)
