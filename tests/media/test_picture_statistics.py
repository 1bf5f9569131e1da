"""Figures of pictures that are known by construction."""

import numpy as np
import pytest

from longlive.media.picture_statistics import measure_pictures, similarity

RED, GREY, WHITE, BLACK = (255, 0, 0), (128, 128, 128), (255, 255, 255), (0, 0, 0)


def plain(*colours: tuple[int, int, int], size: tuple[int, int] = (80, 128)) -> np.ndarray:
    """A picture of each colour, uint8 (F, H, W, 3)."""
    return np.stack([np.full((*size, 3), colour, np.uint8) for colour in colours])


@pytest.mark.parametrize(
    ("pictures", "brightness", "saturation", "motion"),
    [
        (plain(WHITE, WHITE), 100, 0, 0),
        (plain(RED, RED, RED), 100 / 3, 100, 0),
        (plain(GREY), 50.2, 0, 0),
        (plain(*[WHITE] * 4, *[BLACK] * 4), 50, 0, 100),
        (plain(*[WHITE, BLACK, BLACK, BLACK] * 2), 25, 0, 0),
    ],
)
def test_plain_pictures_have_the_figures_of_their_colours(
    pictures: np.ndarray, brightness: float, saturation: float, motion: float
) -> None:
    found = measure_pictures(pictures)
    assert found.brightness == pytest.approx(brightness, abs=0.01)
    assert found.saturation == pytest.approx(saturation, abs=0.01)
    assert (found.motion, found.contrast) == (pytest.approx(motion, abs=0.01), 0)


def test_contrast_is_the_deviation_within_a_picture() -> None:
    halves = plain((0, 0, 0))
    halves[:, :, 64:] = 255
    assert measure_pictures(halves).contrast == pytest.approx(50, abs=1.5)


def test_large_pictures_have_the_figures_of_small_ones() -> None:
    random = np.random.default_rng(0).integers(0, 256, (3, 20, 32, 3), np.uint8)
    small, large = measure_pictures(random), measure_pictures(random.repeat(26, 1).repeat(26, 2))
    assert large.brightness == pytest.approx(small.brightness, abs=1)
    assert large.motion == pytest.approx(small.motion, abs=1.5)


def test_pictures_are_as_alike_as_their_colours_field_by_field() -> None:
    red, darker, grey = (measure_pictures(plain(one)).layout for one in (RED, (240, 0, 0), GREY))
    halves = plain(RED)
    halves[:, :, :64] = GREY
    assert similarity(red, red) == 1
    assert 1 > similarity(red, darker) > similarity(red, measure_pictures(halves).layout) >= 0
    assert similarity(red, grey) == 0 == similarity(grey, red)
