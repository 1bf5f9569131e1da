"""Which subject, in what colour, with what prop, does what: by comparison with drawings of all of them.

A drawing is linear in the subject's colour, and shows its background where it is transparent. So the error
of every drawing in every colour in front of any background is a sum of inner products of the picture with
maps that are made once, and all of them are compared at once.
"""

from dataclasses import dataclass, fields
from functools import lru_cache

import torch
from torch import Tensor

from longlive.storybook.third_edition.world.drawing import GROUND, HALF_BOX, RADIUS
from longlive.storybook.third_edition.world.figure import PALETTE
from longlive.storybook.third_edition.world.motion import (
    PERIOD,
    Pose,
    build_timeline,
    compute_poses,
)
from longlive.storybook.third_edition.world.scene import ACTIONS, COLOURS, PROPS, SUBJECTS, Scene
from longlive.storybook.third_edition.world.subjects import LINE, draw_figure

HEIGHT = 40
"""Rows of the small pictures that are compared."""
WIDTH = HEIGHT * 8 // 5
SCALE = RADIUS * HEIGHT
_HALF = round(HALF_BOX * HEIGHT)
BOX = slice(WIDTH // 2 - _HALF, WIDTH // 2 + _HALF)
"""Columns of a small picture in which a subject is."""


@dataclass(frozen=True)
class Drawings:
    """Drawings of every subject with every prop in every phase of every action, in one order.

    Attributes:
        cover: opacity, (subjects, props, actions, phases, pixels).
        plain: premultiplied colours of what does not depend on the subject's colour, (..., 3, pixels).
        tint: share of the subject's colour, (..., pixels).
    """

    cover: Tensor
    plain: Tensor
    tint: Tensor


@lru_cache(maxsize=1)
def all_drawings() -> Drawings:
    """Make the drawings; takes some seconds of one CPU."""
    shape = (len(SUBJECTS), len(PROPS), len(ACTIONS), PERIOD, 3, -1)
    black = torch.stack([_draw(subject, (0, 0, 0), (0, 0, 0)) for subject in SUBJECTS]).view(shape)
    # The first channel shows the opacity, the second one the share of the subject's colour.
    probe = torch.stack([_draw(subject, (1, 0, 0), (0, 1, 0)) for subject in SUBJECTS]).view(shape) - black
    return Drawings(1 - probe[..., 0, :], black, probe[..., 1, :])


def _draw(subject: str, background: tuple[int, int, int], colour: tuple[int, int, int]) -> Tensor:
    """(props * actions * phases, 3, HEIGHT, columns of BOX) of one subject on a plain background."""
    timeline = build_timeline([[(Scene("meadow", subject, "red", action), PERIOD)] for action in ACTIONS])
    poses = compute_poses(timeline)
    picked = {field.name: getattr(poses, field.name).flatten() for field in fields(Pose)}
    x = ((torch.arange(2 * _HALF) + 0.5 - _HALF) / SCALE)[None, None, :]
    y = ((torch.arange(HEIGHT) + 0.5 - GROUND * HEIGHT) / SCALE)[None, :, None]
    parts = []
    for prop in PROPS:
        pictures = (
            torch.tensor(background)
            .float()
            .view(1, 3, 1, 1)
            .repeat(len(ACTIONS) * PERIOD, 1, HEIGHT, 2 * _HALF)
        )
        count = len(pictures)
        colours = torch.tensor(colour).float().expand(count, 3)
        props = {name: torch.full((count,), float(name == prop)) for name in PROPS if name != "none"}
        time = timeline.time.flatten().float()
        draw_figure(pictures, x, y, SCALE, subject, Pose(**picked), colours, props, time, LINE)
        parts.append(pictures)
    return torch.cat(parts)


@lru_cache(maxsize=1)
def _maps() -> dict[str, Tensor]:
    """The maps of ``errors_of``: (drawings, pixels) or (drawings, 3 pixels) each, and norms."""
    drawings = all_drawings()
    cover, tint = drawings.cover.flatten(0, -2), drawings.tint.flatten(0, -2)
    plain = drawings.plain.flatten(0, -3)
    return {
        "cover": cover,
        "cover2": cover.square(),
        "plain": plain.flatten(1),
        "tint": tint,
        "cover_plain": (cover[:, None] * plain).flatten(1),
        "cover_tint": cover * tint,
        "plain2": plain.square().sum((1, 2)),
        "plain_tint": (plain * tint[:, None]).sum(-1),
        "tint2": tint.square().sum(-1),
    }


def errors_of(pictures: Tensor, backdrops: Tensor) -> Tensor:
    """Squared errors of all drawings, in every colour, in front of the backdrops.

    Args:
        pictures, backdrops: (T, 3, 40, 64) in [0, 1].

    Returns:
        (T, subjects, props, actions, phases, colours), sums over the pixels where a subject may be.
    """
    maps = _maps()
    background = backdrops[..., BOX].flatten(2)
    extra = pictures[..., BOX].flatten(2) - background
    palette = torch.tensor([PALETTE[name] for name in COLOURS])
    without = (
        extra.square().sum((1, 2))[:, None]
        + background.square().sum(1) @ maps["cover2"].T
        + 2 * (extra * background).sum(1) @ maps["cover"].T
        + maps["plain2"]
        - 2 * extra.flatten(1) @ maps["plain"].T
        - 2 * background.flatten(1) @ maps["cover_plain"].T
    )
    with_colour = (
        maps["plain_tint"][None]
        - (extra.flatten(0, 1) @ maps["tint"].T).unflatten(0, (-1, 3)).mT
        - (background.flatten(0, 1) @ maps["cover_tint"].T).unflatten(0, (-1, 3)).mT
    )
    errors = without[..., None] + 2 * with_colour @ palette.T
    errors = errors + maps["tint2"][:, None] * palette.square().sum(1)
    return errors.unflatten(1, (len(SUBJECTS), len(PROPS), len(ACTIONS), PERIOD))
