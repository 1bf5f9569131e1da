"""Scores of real pixels without a trained network: stand-ins for VBench's measures, not called as those.

``experiments/standins.py`` measures how well they part good clips from broken ones.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from longlive.evaluation.statistics import Scores
from longlive.evaluation.videos.flow import dense_flow, gradients, warp

LONGEST_SIDE = 128
"""Pictures are made so small before they are compared; larger ones are no more different."""
BATCH = 32
_FLAT = 0.004
"""Added to the mean gradient (of pictures in [0, 1]), so that pictures of one colour are smooth."""

DEFINITIONS = {
    "stand-ins": (
        "Computed from the pixels by the code in longlive/evaluation/videos, at a longest side of "
        f"{LONGEST_SIDE} pixels, without a trained network. They are no VBench scores and not "
        f"comparable with any."
    ),
    "pixel_consistency": (
        "0-100: similarity of each picture to the first and to the one before, each half, mean over the "
        "pictures. "
        "Similarity: the mean of three cosines: of the square roots of a colour histogram (4x4x4), of "
        "the square "
        "roots of histograms of edge directions (8) in 4x4 cells, and of 8x8 mean colours less their mean."
    ),
    "pixel_smoothness": (
        "0-100: how well a picture follows from the two around it. They are moved half way along their "
        "optical "
        "flow and averaged; 100 (1 - e / g), at least 0: e is the mean absolute difference from the "
        "real picture, g "
        "the mean gradient, so e / g is about how many pixels it is off."
    ),
    "pixel_flicker": "% of white: the median over all pixels and times of |before - 2 now + after| / 2.",
    "pixel_motion": (
        "% of the longest side in a second: the mean optical flow of the fastest twentieth of the "
        "pixels. 0: frozen."
    ),
}
NAMES = ("pixel_consistency", "pixel_smoothness", "pixel_flicker", "pixel_motion")


class Descriptor(NamedTuple):
    """What pictures look like; unit vectors in the last dimension.

    Attributes:
        colours: (F, 64).
        edges: (F, 128).
        layout: (F, 192); 0 for pictures of one colour.
    """

    colours: Tensor
    edges: Tensor
    layout: Tensor

    def part(self, where: slice) -> "Descriptor":
        """Of some of the pictures."""
        return Descriptor(*(values[where] for values in self))

    def mean(self) -> "Descriptor":
        """Of all pictures together: (1, ...)."""
        return Descriptor(*(functional.normalize(values.mean(0, keepdim=True), dim=-1) for values in self))

    def similarity(self, other: "Descriptor") -> Tensor:
        """0 to 100 for each pair (F,); ``other`` may be a single one."""
        cosines = [(a * b).sum(-1).clamp(min=0) for a, b in zip(self, other, strict=True)]
        return 100 * torch.stack(cosines).mean(0)


def shrink(pictures: Tensor) -> Tensor:
    """Pictures, uint8 (F, 3, H, W), as float in [0, 1], their longest side at most LONGEST_SIDE."""
    values = pictures.float() / 255
    scale = LONGEST_SIDE / max(values.shape[-2:])
    if scale >= 1:
        return values
    size = [max(16, round(side * scale)) for side in values.shape[-2:]]
    return functional.interpolate(values, size, mode="area")


@torch.no_grad()
def describe(pictures: Tensor) -> Descriptor:
    """What pictures, float (F, 3, H, W) in [0, 1], look like."""
    small = functional.interpolate(pictures, (64, 64), mode="area")
    thumbnails = functional.adaptive_avg_pool2d(small, 8)
    layout = (thumbnails - thumbnails.mean((2, 3), keepdim=True)).flatten(1)
    return Descriptor(_colours(small), _edges(small), functional.normalize(layout, dim=-1))


@torch.no_grad()
def pixel_scores(pictures: Tensor, fps: float) -> Scores:
    """The scores of a clip by NAMES; see ``DEFINITIONS``.

    Args:
        pictures: uint8 (F, 3, H, W), at least 3.
        fps: pictures per second.
    """
    small = shrink(pictures)
    grey = small.mean(1, keepdim=True)
    return {
        "pixel_consistency": _consistency(describe(small)),
        "pixel_smoothness": _smoothness(grey),
        "pixel_flicker": float(((small[:-2] - 2 * small[1:-1] + small[2:]).abs() / 2).median()) * 100,
        "pixel_motion": _motion(grey) * fps,
    }


def _consistency(seen: Descriptor) -> float:
    first, rest, before = seen.part(slice(0, 1)), seen.part(slice(1, None)), seen.part(slice(None, -1))
    return float((rest.similarity(first) + rest.similarity(before)).mean() / 2)


def _smoothness(grey: Tensor) -> float:
    before, now, after = grey[:-2], grey[1:-1], grey[2:]
    errors = []
    for start in range(0, len(now), BATCH):
        part = slice(start, start + BATCH)
        half = dense_flow(before[part], after[part]) / 2
        between = (warp(before[part], -half) + warp(after[part], half)) / 2
        across, down = gradients(now[part])
        slope = (across**2 + down**2).sqrt().mean((1, 2, 3)) + _FLAT
        errors.append((between - now[part]).abs().mean((1, 2, 3)) / slope)
    return 100 * float((1 - torch.cat(errors)).clamp(min=0).mean())


def _motion(grey: Tensor) -> float:
    """% of the longest side from one picture to the next."""
    found = []
    for start in range(0, len(grey) - 1, BATCH):
        first = grey[start : start + BATCH]
        second = grey[start + 1 : start + 1 + BATCH]
        speeds = dense_flow(first[: len(second)], second).norm(dim=1).flatten(1)
        fastest = speeds.topk(max(1, speeds.shape[1] // 20), dim=1).values
        found.append(fastest.mean(1))
    return 100 * float(torch.cat(found).mean()) / max(grey.shape[-2:])


def _colours(pictures: Tensor) -> Tensor:
    """Square roots of the shares of 4x4x4 colours; a colour between two is shared among them."""
    place = pictures.flatten(2).transpose(1, 2) * 3
    low = place.floor().clamp(0, 2)
    upper = place - low
    shares = pictures.new_zeros(len(pictures), 64)
    for corner in range(8):
        bits = torch.tensor([corner >> 2 & 1, corner >> 1 & 1, corner & 1], device=pictures.device)
        weight = torch.where(bits.bool(), upper, 1 - upper).prod(-1)
        index = (low + bits).long()
        shares.scatter_add_(1, index[..., 0] * 16 + index[..., 1] * 4 + index[..., 2], weight)
    return functional.normalize(shares.sqrt(), dim=-1)


def _edges(pictures: Tensor) -> Tensor:
    """Square roots of how much edge of each of 8 directions is in each of 4x4 cells."""
    across, down = gradients(pictures.mean(1, keepdim=True))
    strength = (across**2 + down**2).sqrt()
    direction = torch.atan2(down, across) % torch.pi * (8 / torch.pi)
    low = direction.floor() % 8
    upper = direction - direction.floor()
    bins = torch.arange(8, device=pictures.device).view(1, 8, 1, 1)
    amount = strength * ((low == bins) * (1 - upper) + ((low + 1) % 8 == bins) * upper)
    cells = functional.adaptive_avg_pool2d(amount, 4).flatten(1)
    return functional.normalize(cells.sqrt(), dim=-1)
