"""The subject as the oracle sees it: where it is in each picture, and what it looks like."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from longlive.storybook.world import oracle
from longlive.storybook.world.drawing import COLOURS, PALETTE, WIDTH

EDGE = 3
"""Pixels around the subject that its edge and the codec's blur may reach."""


@dataclass(frozen=True)
class Sight:
    """What is seen of the subject in some pictures.

    Attributes:
        seen: the share of pictures that show a subject, in [0, 1].
        x, y, area: of the pictures that do, in order: centre and area in pixels, single outliers removed; x
            goes on beyond the sides, since the world is a torus.
        covered: bool (H, W): pixels that the subject or its edge covers in any picture.
        hue: (3,), the direction of its vivid pixels' colour in RGB; zeros when nothing is vivid.
        shape: as the oracle reads it; "" when there is nothing to read.
    """

    seen: float
    x: np.ndarray
    y: np.ndarray
    area: np.ndarray
    covered: Tensor
    hue: np.ndarray
    shape: str


def look(pictures: Tensor) -> Sight:
    """Find the subject in pictures, uint8 (F, 3, H, W), that all show one setting."""
    values = pictures.float() / 255
    *_, backdrop = oracle.read_setting(values)
    masks, _ = oracle.find_subjects((values - backdrop).abs().sum(1) > oracle.SUBJECT_CONTRAST)
    is_seen = masks.flatten(1).sum(1) >= oracle.SMALLEST_SUBJECT
    covered = F.max_pool2d(masks.any(0)[None, None].float(), 2 * EDGE + 1, 1, EDGE)[0, 0] > 0
    if not is_seen.any():
        nothing = np.zeros(0)
        return Sight(0.0, nothing, nothing, nothing, covered, np.zeros(3), "")
    track = oracle.follow(values[is_seen], masks[is_seen])
    return Sight(
        seen=float(is_seen.float().mean()),
        x=_smooth(np.unwrap(track.x, period=WIDTH)),
        y=_smooth(track.y),
        area=_smooth(track.area),
        covered=covered,
        hue=_hue(values[is_seen], track.masks),
        shape=oracle.read_shape(track),
    )


def hue_distance() -> float:
    """How far apart the hues of the palette's two most alike colours are."""
    return float(torch.pdist(oracle.chroma(torch.tensor([PALETTE[colour] for colour in COLOURS]))).min())


def _smooth(values: np.ndarray) -> np.ndarray:
    """The median of each value and its two neighbours; both ends stay."""
    if len(values) < 3:
        return values
    middle = np.median(np.stack([values[:-2], values[1:-1], values[2:]]), 0)
    return np.concatenate([values[:1], middle, values[-1:]])


def _hue(values: Tensor, masks: Tensor) -> np.ndarray:
    pixels = values.permute(0, 2, 3, 1)[masks]
    bright, dark = pixels.amax(1), pixels.amin(1)
    vivid = pixels[(bright - dark > 0.35 * bright) & (bright > 0.3)]
    return oracle.chroma(vivid).median(0).values.numpy() if len(vivid) else np.zeros(3)
