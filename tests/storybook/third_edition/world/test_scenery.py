"""Bands of scenery meet themselves at their ends and are lit by the time of day."""

import torch

from longlive.storybook.third_edition.world.scene import LIGHTS, SETTINGS
from longlive.storybook.third_edition.world.scenery import DEPTHS, backdrop_index, paint_bands

HEIGHT = 40


def test_every_band_repeats_without_a_seam() -> None:
    bands = paint_bands(HEIGHT, "cpu")
    assert bands.shape == (len(DEPTHS), len(SETTINGS) * len(LIGHTS), 128, 4, HEIGHT)
    steps = (bands - bands.roll(1, dims=2)).abs().mean((3, 4))
    assert (steps[:, :, 0] <= steps[:, :, 1:].amax(-1)).all()


def test_night_is_darker_but_where_there_is_no_sky() -> None:
    bands = paint_bands(HEIGHT, "cpu")
    for index, setting in enumerate(SETTINGS):
        day, night = (
            bands[:, backdrop_index(torch.tensor(index), torch.tensor(LIGHTS.index(light)))][:, :, :3]
            for light in ("day", "night")
        )
        if setting in ("underwater", "space"):
            assert torch.equal(day, night)
        else:
            assert night.mean() < 0.7 * day.mean(), setting
