"""Settings in nature: meadow, beach, desert, forest and winter; each has a far, a middle and a near band."""

import math

import torch

from longlive.storybook.third_edition.world.band import (
    Band,
    Painter,
    paint_clouds,
    paint_fir,
    paint_flower,
    paint_open_sky,
    paint_tree,
)
from longlive.storybook.third_edition.world.shapes import ellipse_distance


def _meadow_far(band: Band) -> None:
    paint_clouds(band, (0.85, 0.20, 1.0), (1.9, 0.13, 1.2), (2.85, 0.24, 0.9))
    band.ground(0.56, 0.05, 2, 0.1, "9fdc9a", "7fc47a")


def _meadow_middle(band: Band) -> None:
    band.ground(0.66, 0.03, 2, 0.4, "7ccb5e", "62b34a")
    for x, size in ((0.32, 1.0), (1.18, 1.25), (1.95, 0.9), (2.75, 1.15)):
        paint_tree(band, x, 0.68, size, "4fae4d")


def _meadow_near(band: Band) -> None:
    band.ground(0.75, 0.012, 2, 0.3, "a4dd5f", "6fbb40")
    for index in range(8):
        paint_flower(
            band,
            0.12 + 0.4 * index,
            (0.95, 0.81, 0.93, 0.80)[index % 4],
            ("ff6fa3", "ffffff", "b48cff")[index % 3],
        )
    for x in (0.55, 2.15):  # a fence
        for dx in (0.0, 0.10, 0.20, 0.30):
            band.box(x + dx, 0.665, 0.014, 0.785, "f4e3c3", corner=0.01)
        band.box(x + 0.15, 0.69, 0.19, 0.708, "f4e3c3")
        band.box(x + 0.15, 0.735, 0.19, 0.753, "f4e3c3")


def _beach_far(band: Band) -> None:
    paint_clouds(band, (0.75, 0.15, 0.9), (2.3, 0.20, 1.1))
    band.below(0.50, "2f9bd0", "59c6e6")
    for x, size in ((1.3, 1.0), (2.8, 0.8)):  # islands and a sail
        band.disc(x, 0.505, 0.20 * size, "4d9a63", 0.055 * size)
    band.below(0.503, "2f9bd0", "6fd3ec")
    band.triangle(0.52, 0.345, 0.075, 0.475, "fffdf5")
    band.box(0.52, 0.475, 0.085, 0.505, "d8434e", corner=0.012)


def _beach_middle(band: Band) -> None:
    for index in range(10):
        band.box(0.1 + 0.32 * index, 0.57 + 0.05 * (index % 3), 0.08, 0.578 + 0.05 * (index % 3), "c9f1fa")
    band.ground(0.715, 0.010, 4, 0.0, "f4fbff")
    band.ground(0.728, 0.010, 4, 0.0, "f3dfa4", "eecf85")


def _palm(band: Band, x: float, foot: float, size: float) -> None:
    top = (x + 0.07 * size, foot - 0.42 * size)
    band.limb((x, foot), top, 0.026 * size, 0.016 * size, "a9764a")
    for dx, dy in ((-0.20, 0.03), (0.20, 0.04), (-0.14, -0.09), (0.15, -0.09), (-0.06, 0.13), (0.11, 0.13)):
        band.limb(top, (top[0] + dx * size, top[1] + dy * size), 0.030 * size, 0.006, "3fa85a")


def _beach_near(band: Band) -> None:
    band.ground(0.765, 0.010, 2, 0.2, "f9e6ae", "eecb7e")
    _palm(band, 0.30, 0.80, 1.15)
    _palm(band, 2.35, 0.80, 1.0)
    for dx, colour in ((-0.10, "ff5d5d"), (0.0, "ffffff"), (0.10, "ff5d5d")):  # a sunshade
        band.limb((1.42, 0.50), (1.42 + 1.3 * dx, 0.585), 0.02, 0.055, colour)
    band.box(1.42, 0.50, 0.010, 0.81, "b98a5a")
    for x, y, colour in (
        (0.75, 0.93, "ff8e72"),
        (1.85, 0.95, "ffffff"),
        (2.75, 0.92, "ff8e72"),
        (1.15, 0.97, "ffffff"),
    ):
        for angle in range(5):
            a = 2 * math.pi * angle / 5
            band.limb((x, y), (x + 0.034 * math.sin(a), y - 0.028 * math.cos(a)), 0.014, 0.006, colour)


def _desert_far(band: Band) -> None:
    for x, size in ((0.95, 1.0), (1.28, 0.65), (2.6, 0.85)):  # pyramids
        band.triangle(x, 0.60 - 0.28 * size, 0.27 * size, 0.62, "e2b56a")
        band.triangle(x + 0.10 * size, 0.60 - 0.17 * size, 0.17 * size, 0.62, "c99750")
    band.ground(0.585, 0.02, 2, 0.2, "f0c77a", "e6b45f")


def _desert_middle(band: Band) -> None:
    band.ground(0.67, 0.035, 2, 0.55, "f5cf80", "e8b75f")
    for x, y in ((0.55, 0.70), (2.05, 0.69)):
        band.disc(x, y, 0.085, "b98a62", 0.055)
        band.disc(x + 0.08, y + 0.01, 0.055, "a67a55", 0.035)


def _cactus(band: Band, x: float, foot: float, size: float) -> None:
    green = "3fa066"
    band.limb((x, foot - 0.34 * size), (x, foot), 0.042 * size, 0.046 * size, green)
    for side, y in ((-1, -0.16), (1, -0.22)):
        band.limb(
            (x, foot + y * size), (x + side * 0.11 * size, foot + y * size), 0.028 * size, 0.028 * size, green
        )
        band.limb(
            (x + side * 0.11 * size, foot + y * size),
            (x + side * 0.11 * size, foot + (y - 0.11) * size),
            0.028 * size,
            0.026 * size,
            green,
        )
    band.disc(x, foot - 0.385 * size, 0.022 * size, "ff7aa8")


def _desert_near(band: Band) -> None:
    band.ground(0.76, 0.014, 2, 0.1, "fbdb92", "eebd64")
    _cactus(band, 0.34, 0.80, 1.1)
    _cactus(band, 1.46, 0.79, 0.85)
    _cactus(band, 2.55, 0.80, 1.2)
    for x, y in ((0.8, 0.94), (1.9, 0.95), (2.9, 0.92)):
        band.disc(x, y, 0.035, "c99a5a", 0.018)
        band.disc(x + 0.035, y + 0.008, 0.022, "b98a50", 0.013)


def _forest_far(band: Band) -> None:
    band.ground(0.60, 0.015, 2, 0.0, "5f9f7d")
    for index in range(12):
        paint_fir(
            band, 0.10 + 0.267 * index, 0.63, 0.95 + 0.25 * (index % 3 == 0), ("6fae8c", "64a583")[index % 2]
        )


def _forest_middle(band: Band) -> None:
    band.ground(0.69, 0.012, 2, 0.2, "3f8a55", "357a49")
    for x, size in ((0.22, 1.25), (0.95, 1.0), (1.65, 1.35), (2.30, 1.05), (2.90, 1.2)):
        paint_fir(band, x, 0.71, size, "2f7d50")


def _mushroom(band: Band, x: float, y: float, size: float) -> None:
    band.box(x, y - 0.05 * size, 0.016 * size, y, "fff1dc", corner=0.01)
    band.fill(
        torch.maximum(
            ellipse_distance(band.across(x), band.y - y + 0.045 * size, 0.05 * size, 0.048 * size),
            band.y - y + 0.04 * size,
        ),
        "e23b3b",
    )
    for dx, dy in ((-0.02, -0.06), (0.018, -0.068), (0.0, -0.05)):
        band.disc(x + dx * size, y + dy * size, 0.008 * size, "ffffff")


def _forest_near(band: Band) -> None:
    band.ground(0.76, 0.012, 2, 0.6, "6bb35c", "4a9447")
    for x, size in ((0.28, 1.0), (1.75, 1.15)):  # two big trunks reach out of the picture
        band.limb((x, -0.1), (x, 0.79), 0.052 * size, 0.075 * size, "7a5236")
        band.box(x - 0.02, 0.30, 0.006, 0.42, "5f3f29")
        band.box(x + 0.02, 0.50, 0.006, 0.60, "5f3f29")
    for x, y, size in (
        (0.75, 0.80, 1.3),
        (1.32, 0.95, 1.2),
        (2.25, 0.80, 1.1),
        (2.42, 0.81, 1.5),
        (2.95, 0.95, 1.2),
    ):
        _mushroom(band, x, y, size)
    for x, y in ((0.55, 0.94), (2.0, 0.93), (2.65, 0.96)):
        paint_flower(band, x, y, "ffffff")


def _winter_far(band: Band) -> None:
    for x, top, half in ((0.45, 0.20, 0.42), (1.15, 0.30, 0.36), (1.95, 0.16, 0.48), (2.75, 0.28, 0.38)):
        band.triangle(x, top, half, 0.72, "9db6d6")
        band.triangle(x, top, 0.32 * half, top + 0.32 * (0.72 - top), "ffffff")
    band.ground(0.63, 0.015, 2, 0.3, "dfeaf5", "cfdeee")


def _winter_middle(band: Band) -> None:
    band.ground(0.68, 0.02, 2, 0.1, "eef5fb", "dbe8f4")
    for x, size in ((0.30, 1.1), (0.72, 0.8), (1.62, 1.2), (2.35, 0.9), (2.85, 1.15)):
        paint_fir(band, x, 0.70, size, "4f8f86", "ffffff")


def _snowman(band: Band, x: float, foot: float) -> None:
    for dy, r in ((-0.065, 0.075), (-0.175, 0.055), (-0.255, 0.042)):
        band.disc(x, foot + dy, r + 0.006, "b9cbe0")
        band.disc(x, foot + dy, r, "fdfeff")
    for dx in (-0.014, 0.014):
        band.disc(x + dx, foot - 0.265, 0.007, "2c2a3a")
    band.limb((x, foot - 0.25), (x + 0.045, foot - 0.243), 0.010, 0.002, "ff8a2a")
    band.box(x, foot - 0.345, 0.028, foot - 0.29, "2f3350")
    band.box(x, foot - 0.295, 0.045, foot - 0.285, "2f3350")


def _winter_near(band: Band) -> None:
    band.ground(0.76, 0.012, 2, 0.4, "ffffff", "d5e5f3")
    _snowman(band, 0.33, 0.80)
    _snowman(band, 2.25, 0.80)
    for x, y in ((0.8, 0.93), (1.5, 0.95), (2.75, 0.94), (1.95, 0.92)):
        band.disc(x, y, 0.07, "c3d7ea", 0.014)
    for x in (1.35, 2.95):
        band.box(x, 0.66, 0.011, 0.80, "7d5a3e")
        band.box(x, 0.655, 0.075, 0.715, "9a7350", corner=0.008)
        band.box(x, 0.648, 0.078, 0.664, "ffffff", corner=0.008)


NATURE: dict[str, tuple[Painter, ...]] = {
    "meadow": (paint_open_sky, _meadow_far, _meadow_middle, _meadow_near),
    "beach": (paint_open_sky, _beach_far, _beach_middle, _beach_near),
    "desert": (paint_open_sky, _desert_far, _desert_middle, _desert_near),
    "forest": (paint_open_sky, _forest_far, _forest_middle, _forest_near),
    "winter": (paint_open_sky, _winter_far, _winter_middle, _winter_near),
}
"""The painters of each setting's sky and bands, from far to near."""
