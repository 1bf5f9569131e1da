"""Built and strange settings: city, castle, under water and space; the last two have skies of their own."""

import math

import torch

from longlive.storybook.third_edition.world.band import (
    Band,
    Painter,
    paint_clouds,
    paint_open_sky,
    paint_stars,
    paint_tree,
)
from longlive.storybook.third_edition.world.shapes import box_distance, ellipse_distance

_HOUSES = ("f2b66b", "e5786d", "7fb7d8", "f4dc94", "9ccf9a", "c79ad6")


def _windows(
    band: Band, x: float, top: float, foot: float, columns: int, rows: int, step: float = 0.075
) -> None:
    lit = band.light != "day"
    for row in range(rows):
        for column in range(columns):
            shines = lit and (row * 3 + column * 2 + round(x * 10)) % 3 != 0
            place = x + (column - (columns - 1) / 2) * step
            y = top + 0.035 + row * (foot - top - 0.05) / rows
            band.box(place, y, 0.019, y + 0.05, "ffdf7a" if shines else "5f7fa3", corner=0.005, shines=shines)


def _city_far(band: Band) -> None:
    paint_clouds(band, (0.9, 0.12, 0.9), (2.4, 0.16, 1.0))
    for index in range(14):
        half, top = 0.10, (0.34, 0.22, 0.42, 0.28, 0.16, 0.38, 0.30)[index % 7]
        x = 0.08 + 0.2286 * index
        band.box(x, top, half, 0.8, ("9fb4cf", "8ea6c6")[index % 2])
        if band.light != "day":
            for row in range(3):
                band.box(
                    x - 0.04 + 0.04 * ((row + index) % 3),
                    top + 0.05 + 0.09 * row,
                    0.012,
                    top + 0.075 + 0.09 * row,
                    "ffdf7a",
                    shines=True,
                )
        if index % 3 == 1:
            band.box(x, top - 0.08, 0.006, top, "8ea6c6")


def _city_middle(band: Band) -> None:
    for index in range(8):
        x, top = 0.2 + 0.4 * index, (0.36, 0.46, 0.30, 0.42)[index % 4]
        band.box(x, top, 0.19, 0.80, _HOUSES[index % 6], corner=0.008)
        if index % 2:
            band.triangle(x, top - 0.11, 0.21, top + 0.005, "b5533f")
        else:
            band.box(x, top - 0.02, 0.20, top + 0.012, "7d5a4a")
        _windows(band, x, top, 0.76, 4, 3 if top > 0.4 else 4)


def _city_near(band: Band) -> None:
    band.below(0.755, "cfc8bd", "b9b2a8")
    band.below(0.825, "9a948c")
    band.below(0.84, "6e7079", "5b5d66")
    for index in range(8):
        band.box(0.2 + 0.4 * index, 0.935, 0.10, 0.955, "f3f0e2")
    for x in (0.32, 1.92):  # street lamps
        band.box(x, 0.40, 0.011, 0.80, "3e4654")
        band.limb((x, 0.41), (x + 0.09, 0.405), 0.010, 0.010, "3e4654")
        if band.light != "day":
            band.disc(x + 0.10, 0.43, 0.085, "ffe9a0", shines=True, opacity=0.35)
        band.disc(
            x + 0.10, 0.428, 0.030, "fff3c0" if band.light != "day" else "e8edf2", shines=band.light != "day"
        )
    for x in (1.28, 2.72):  # trees in tubs
        band.box(x, 0.745, 0.06, 0.805, "b5653f", corner=0.01)
        paint_tree(band, x, 0.75, 0.75, "4fae5a")


def _castle_far(band: Band) -> None:
    paint_clouds(band, (0.7, 0.14, 1.0), (2.2, 0.18, 0.9))
    for x, top, half in ((0.5, 0.36, 0.5), (1.6, 0.30, 0.6), (2.7, 0.38, 0.5)):
        band.triangle(x, top, half, 0.75, "a9c3cf")
    band.ground(0.58, 0.03, 2, 0.7, "9ccf96", "84bd7d")


def _tower(band: Band, x: float, top: float, half: float, roof: str) -> None:
    band.box(x, top, half, 0.82, "cfc7d8")
    band.box(x + 0.55 * half, top, 0.45 * half, 0.82, "b5abc4")
    band.triangle(x, top - 0.20, 1.35 * half, top + 0.005, roof)
    band.box(x, top - 0.27, 0.005, top - 0.19, "6b5a55")
    band.limb((x + 0.008, top - 0.255), (x + 0.06, top - 0.24), 0.018, 0.004, "ffcf3f")
    lit = band.light != "day"
    band.box(x, top + 0.06, 0.020, top + 0.13, "ffdf7a" if lit else "4d4a66", corner=0.018, shines=lit)


def _castle_middle(band: Band) -> None:
    band.box(0.8, 0.52, 0.62, 0.85, "d8d0e0")
    for index in range(9):
        band.box(0.24 + 0.14 * index, 0.475, 0.042, 0.53, "d8d0e0", corner=0.003)
    band.fill(
        torch.minimum(
            ellipse_distance(band.across(0.8), band.y - 0.66, 0.11, 0.11),
            box_distance(band.across(0.8), band.y - 0.78, 0.11, 0.12, 0.0),
        ),
        "5d4632",
    )
    for dx in (-0.06, 0.0, 0.06):
        band.box(0.8 + dx, 0.56, 0.005, 0.82, "3f2f22")
    for x, top, half, roof in (
        (0.18, 0.36, 0.095, "d8485c"),
        (1.42, 0.36, 0.095, "d8485c"),
        (0.52, 0.30, 0.075, "5d78d6"),
        (1.08, 0.30, 0.075, "5d78d6"),
    ):
        _tower(band, x, top, half, roof)
    band.box(2.4, 0.58, 0.36, 0.85, "d8d0e0")
    for index in range(5):
        band.box(2.12 + 0.14 * index, 0.535, 0.042, 0.59, "d8d0e0", corner=0.003)
    _tower(band, 2.05, 0.42, 0.085, "5d78d6")
    _tower(band, 2.75, 0.42, 0.085, "d8485c")


def _castle_near(band: Band) -> None:
    band.ground(0.755, 0.006, 2, 0.2, "9bd35f", "6db044")
    band.ground(0.835, 0.006, 2, 0.6, "e6d3ab", "cdb482")
    for index in range(12):
        band.disc(0.12 + 0.267 * index, (0.90, 0.96)[index % 2], 0.045, "d8c196", 0.016)
    for x in (0.45, 1.15, 2.05, 2.75):  # rose bushes
        band.disc(x, 0.775, 0.085, "4d9b4f", 0.055)
        for dx, dy in ((-0.04, -0.01), (0.015, -0.03), (0.045, 0.0)):
            band.disc(x + dx, 0.775 + dy, 0.013, "ff5f7f")


def _underwater_sky(band: Band) -> None:
    band.sky("6fe0ee", "2fa9d8", "1c74b8", "155a9c", foot=1.0)
    for x, half in ((0.25, 0.10), (0.62, 0.06), (1.05, 0.12), (1.42, 0.07)):  # rays
        ray = (band.across(x) + 0.25 * band.y).abs() - half * (0.5 + band.y)
        band.fill(ray, "d6fbff", opacity=0.16)


def _fish(band: Band, x: float, y: float, size: float, colour: str) -> None:
    band.triangle(x - 0.085 * size, y - 0.055 * size, 0.05 * size, y + 0.055 * size, colour)
    band.disc(x, y, 0.085 * size, colour, 0.055 * size)
    band.disc(x + 0.045 * size, y - 0.012 * size, 0.018 * size, "ffffff")
    band.disc(x + 0.050 * size, y - 0.012 * size, 0.009 * size, "20243a")


def _underwater_far(band: Band) -> None:
    for x, rx, ry in ((0.35, 0.35, 0.20), (1.25, 0.45, 0.28), (2.15, 0.38, 0.18), (2.9, 0.36, 0.26)):
        band.disc(x, 0.78, rx, "2a80ad", ry)
    for x, y in ((0.60, 0.30), (1.75, 0.22), (2.5, 0.38)):
        _fish(band, x, y, 0.75, "8fd0e0")


def _underwater_middle(band: Band) -> None:
    for x, size in ((0.25, 1.0), (1.35, 1.2), (2.05, 0.9), (2.95, 1.1)):  # weed
        for dx in (-0.06, 0.0, 0.06):
            band.limb((x + dx, 0.80), (x + 1.5 * dx, 0.80 - (0.34 - abs(dx)) * size), 0.022, 0.010, "2fae7f")
    for x, colour in ((0.72, "ff7f7f"), (1.72, "ffb04f"), (2.50, "e07fd0")):  # coral
        for dx, dy in ((-0.13, -0.16), (0.0, -0.24), (0.13, -0.17)):
            band.limb((x, 0.80), (x + dx, 0.80 + dy), 0.032, 0.024, colour)
            band.limb(
                (x + 0.6 * dx, 0.80 + 0.6 * dy),
                (x + 0.6 * dx + 0.06, 0.80 + 0.6 * dy - 0.07),
                0.022,
                0.018,
                colour,
            )
    for x, y, colour in (
        (0.50, 0.42, "ffd23f"),
        (1.15, 0.28, "ff8a4f"),
        (1.95, 0.46, "ffd23f"),
        (2.75, 0.30, "ff8a4f"),
    ):
        _fish(band, x, y, 1.0, colour)


def _underwater_near(band: Band) -> None:
    band.ground(0.765, 0.014, 2, 0.5, "f0dca0", "cdb377")
    for x, y in ((0.40, 0.93), (1.55, 0.95), (2.60, 0.92)):
        for angle in range(5):
            a = 2 * math.pi * angle / 5
            band.limb((x, y), (x + 0.045 * math.sin(a), y - 0.036 * math.cos(a)), 0.018, 0.008, "ff7a5c")
    for x, y in ((0.95, 0.80), (2.05, 0.81), (3.0, 0.80)):
        band.disc(x, y, 0.075, "8d93a8", 0.05)
        band.disc(x + 0.07, y + 0.01, 0.05, "7a8098", 0.032)
    band.box(1.38, 0.73, 0.085, 0.80, "9b6232", corner=0.01)  # a treasure chest
    band.disc(1.38, 0.73, 0.085, "b5763f", 0.042)
    band.box(1.38, 0.735, 0.088, 0.75, "ffcf3f")
    band.disc(1.38, 0.757, 0.016, "ffcf3f")


def _space_sky(band: Band) -> None:
    band.sky("0b0a2a", "1d1552", "3a2377", foot=1.0)
    paint_stars(band)
    for x, y in ((0.24, 0.46), (0.75, 0.42), (1.12, 0.50), (1.40, 0.46), (0.50, 0.54)):
        band.disc(x, y, 0.008, "d8d0ff")
    band.disc(1.22, 0.22, 0.135, "f2a65a")
    for y, half in ((0.17, 0.11), (0.26, 0.12)):
        band.box(1.22, y, half, y + 0.022, "e08a45", corner=0.01)
    ring = (
        ellipse_distance(band.across(1.22), band.y - 0.225 + 0.12 * band.across(1.22), 0.235, 0.05)
    ).abs() - 0.010
    front = torch.maximum(ring, -(band.y - 0.225 + 0.12 * band.across(1.22)))
    band.fill(torch.where(band.across(1.22).abs() > 0.13, ring, front), "ffe3b0")


def _space_far(band: Band) -> None:
    for x, y, r, colour, patch in (
        (0.35, 0.24, 0.085, "6fc3ff", "4f9fe0"),
        (1.95, 0.36, 0.07, "ff8fb0", "e0708f"),
        (2.75, 0.20, 0.06, "9fe6a0", "7cc980"),
    ):
        band.disc(x, y, r, colour)
        band.disc(x + 0.25 * r, y + 0.2 * r, 0.45 * r, patch, 0.3 * r)
    band.ground(0.64, 0.03, 2, 0.3, "5d4f92", "53468a")


def _space_middle(band: Band) -> None:
    band.ground(0.70, 0.02, 2, 0.6, "7a6bb0", "6c5ea6")
    for x in (0.62, 2.30):  # rockets
        for side in (-1, 1):
            band.triangle(x + 0.065 * side, 0.60, 0.045, 0.73, "e23b4e")
        band.limb((x, 0.42), (x, 0.66), 0.045, 0.065, "f4f6fb")
        band.triangle(x, 0.30, 0.055, 0.41, "e23b4e")
        band.disc(x, 0.49, 0.030, "3e4a78")
        band.disc(x, 0.49, 0.020, "7fe3ff")
    for x, y in ((1.25, 0.76), (1.85, 0.75), (2.95, 0.76)):
        band.disc(x, y, 0.10, "65589e", 0.022)


def _space_near(band: Band) -> None:
    band.ground(0.77, 0.012, 2, 0.1, "c9c3da", "9d95bb")
    for x, y, r in (
        (0.35, 0.82, 0.085),
        (0.95, 0.945, 0.11),
        (1.60, 0.82, 0.07),
        (2.15, 0.95, 0.10),
        (2.80, 0.83, 0.09),
    ):
        band.disc(x, y, r, "8b83ab", 0.24 * r)
        band.disc(x, y + 0.006, 0.85 * r, "a59dc4", 0.18 * r)
    band.box(1.36, 0.52, 0.007, 0.80, "e8e8f0")  # a flag
    band.box(1.44, 0.52, 0.075, 0.61, "ff5f6f", corner=0.006)
    for angle in range(5):
        a = 2 * math.pi * angle / 5
        band.limb(
            (1.44, 0.565), (1.44 + 0.026 * math.sin(a), 0.565 - 0.026 * math.cos(a)), 0.009, 0.003, "ffffff"
        )


PLACES: dict[str, tuple[Painter, ...]] = {
    "city": (paint_open_sky, _city_far, _city_middle, _city_near),
    "castle": (paint_open_sky, _castle_far, _castle_middle, _castle_near),
    "underwater": (_underwater_sky, _underwater_far, _underwater_middle, _underwater_near),
    "space": (_space_sky, _space_far, _space_middle, _space_near),
}
"""The painters of each setting's sky and bands, from far to near."""
