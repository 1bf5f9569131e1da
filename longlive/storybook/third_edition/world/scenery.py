"""All settings at every time of day, painted once: a sky and three bands that scroll at different speeds."""

from functools import lru_cache

import torch
from torch import Tensor

from longlive.storybook.third_edition.world.band import Band
from longlive.storybook.third_edition.world.nature import NATURE
from longlive.storybook.third_edition.world.places import PLACES
from longlive.storybook.third_edition.world.scene import LIGHTS, SETTINGS, WITHOUT_SKY

DEPTHS = (0.0, 0.25, 0.5, 1.0)
"""Scroll speeds of sky, far band, middle band and ground, as shares of the camera's speed."""


@lru_cache(maxsize=4)
def paint_bands(height: int, device: str) -> Tensor:
    """All bands: (depths, settings * lights, columns, 4, height), premultiplied colour and cover.

    A column's values lie side by side, so that a picture is a choice of columns.
    """
    painters = NATURE | PLACES
    kinds = [(setting, light) for setting in SETTINGS for light in LIGHTS]
    stacks = []
    for depth in range(len(DEPTHS)):
        bands = []
        for setting, light in kinds:
            band = Band(height, "day" if setting in WITHOUT_SKY else light, device)
            painters[setting][depth](band)
            bands.append(band.paint.permute(2, 0, 1))
        stacks.append(torch.stack(bands))
    return torch.stack(stacks).contiguous()


def backdrop_index(setting: Tensor, light: Tensor) -> Tensor:
    """Index of a setting's and a light's bands in ``paint_bands``."""
    return setting * len(LIGHTS) + light
