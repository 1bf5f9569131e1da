"""Where and when a scene is, in what weather, and how far the camera has come: by comparison with all bands.

First the rows' mean colours leave a few candidates; then each band of those is moved until the pictures fit.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from longlive.storybook.third_edition.oracle.figures import BOX, HEIGHT, WIDTH
from longlive.storybook.third_edition.world.scene import LIGHTS, SETTINGS, WEATHERS, WITHOUT_SKY
from longlive.storybook.third_edition.world.scenery import paint_bands
from longlive.storybook.third_edition.world.weather import FALLING_PAINTS, falling_cover, tint

LARGE = 160
REDUCED = LARGE // HEIGHT
CANDIDATES = 6
"""Places, times and weathers that are compared in detail."""
CLIPPED = 0.4
"""Largest error of a pixel that counts, summed over the colours: the subject must not decide."""
FALLING = 0.2
"""Share of the expected contrast from which rain or snow counts as seen; of blurred pictures it is low."""


@dataclass(frozen=True)
class Place:
    """One setting at one time of day, in one weather."""

    setting: str
    light: str
    weather: str

    @property
    def band(self) -> int:
        """Number of its bands in ``paint_bands``."""
        return SETTINGS.index(self.setting) * len(LIGHTS) + LIGHTS.index(self.light)


@dataclass(frozen=True)
class Scenery:
    """What is read off some pictures.

    Attributes:
        place: setting, time of day, and the weather whose light it is.
        something_falls: whether rain or snow is seen; which of them, its light tells better.
        backdrops: the empty scene behind each picture, (T, 3, 40, 64).
        position: of the ground, in pixels of large pictures, modulo its length, (T,).
    """

    place: Place
    something_falls: bool
    backdrops: Tensor
    position: Tensor


@lru_cache(maxsize=1)
def all_places() -> tuple[Place, ...]:
    """Every sensible place."""
    inside = [Place(setting, "day", "clear") for setting in WITHOUT_SKY]
    outside = [setting for setting in SETTINGS if setting not in WITHOUT_SKY]
    return (*inside, *(Place(s, light, w) for s in outside for light in LIGHTS for w in WEATHERS))


@lru_cache(maxsize=2)
def _bands(height: int) -> Tensor:
    """All bands as (depths, kinds, 4, height, columns), premultiplied colour and cover."""
    bands = paint_bands(LARGE, "cpu").permute(0, 1, 3, 4, 2)
    factor = LARGE // height
    return F.avg_pool2d(bands.flatten(0, 1), factor).unflatten(0, bands.shape[:2]) if factor > 1 else bands


@lru_cache(maxsize=1)
def _row_colours() -> Tensor:
    """Mean colour of each row of each place, (places, 3, 40)."""
    found = []
    for place in all_places():
        columns = _bands(HEIGHT)[:, place.band]
        found.append(tint(_compose(list(columns)), place.weather).mean(-1))
    return torch.stack(found)


def _compose(bands: list[Tensor]) -> Tensor:
    """Bands (..., 4, H, W) over each other, the first at the back: (..., 3, H, W)."""
    picture = bands[0][..., :3, :, :]
    for band in bands[1:]:
        picture = band[..., :3, :, :] + picture * (1 - band[..., 3:, :, :])
    return picture


def read_scenery(small: Tensor, large: Tensor) -> Scenery:
    """Find the place, and the empty scene behind each picture.

    Args:
        small: pictures reduced to (T, 3, 40, 64), in [0, 1].
        large: the same pictures, (T, 3, 160, 256).
    """
    sides = torch.cat([small[..., : BOX.start], small[..., BOX.stop :]], -1)
    distance = (_row_colours() - sides.mean((0, -1))).abs().sum((1, 2))
    nearest = [all_places()[i] for i in distance.topk(CANDIDATES, largest=False).indices.tolist()]
    tried = small[[0, len(small) // 2]]
    place = min(nearest, key=lambda found: sum(_fit(picture, found)[1] for picture in tried))
    positions = torch.stack(
        [_refine(one, place, _fit(s, place)[0]) for s, one in zip(small, large, strict=True)]
    )
    empty = torch.stack([_empty(place, row.tolist()) for row in positions])
    backdrops = F.avg_pool2d(empty, REDUCED)
    falls, backdrops = _read_falling(small, backdrops, place)
    return Scenery(place, falls, backdrops, positions[:, -1])


def _fit(picture: Tensor, place: Place) -> tuple[list[int], float]:
    """Column of each band at the left edge of a small picture (3, 40, 64), and the clipped error."""
    bands = _bands(HEIGHT)[:, place.band]
    shifts, error = [0] * len(bands), 0.0
    turned = [_all_shifts(band, range(band.shape[-1])) for band in bands[1:]]
    for _ in range(2):
        for depth in range(len(bands) - 1, 0, -1):
            stack = [bands[0][..., :WIDTH]] + [turned[d - 1][shifts[d]] for d in range(1, len(bands))]
            errors = _errors(picture, stack, depth, turned[depth - 1], place)
            shifts[depth], error = int(errors.argmin()), float(errors.min())
    return shifts, error


def _refine(picture: Tensor, place: Place, shifts: list[int]) -> Tensor:
    """The same columns at full size, (depths,), for a picture (3, 160, 256)."""
    bands, width = _bands(LARGE)[:, place.band], picture.shape[-1]
    found = [shift * REDUCED for shift in shifts]
    for depth in range(len(bands) - 1, 0, -1):
        near = [found[depth] + i for i in range(1 - REDUCED, REDUCED)]
        stack = [_all_shifts(band, [at], width)[0] for band, at in zip(bands, found, strict=True)]
        errors = _errors(picture, stack, depth, _all_shifts(bands[depth], near, width), place)
        found[depth] = near[int(errors.argmin())] % bands.shape[-1]
    return torch.tensor(found)


def _errors(picture: Tensor, stack: list[Tensor], depth: int, choices: Tensor, place: Place) -> Tensor:
    """Clipped error of a picture for each of the ``choices`` (n, 4, H, W) of the band at ``depth``."""
    composed = tint(_compose([*stack[:depth], choices, *stack[depth + 1 :]]), place.weather)
    return (composed - picture).abs().sum(1).clamp(max=CLIPPED).mean((1, 2))


def _all_shifts(band: Tensor, shifts: "range | list[int]", width: int = WIDTH) -> Tensor:
    """Views (n, 4, H, width) of a band (4, H, columns) that begin at each of the columns ``shifts``."""
    first = torch.tensor(list(shifts))
    columns = (first[:, None] + torch.arange(width)) % band.shape[-1]
    return band[..., columns.flatten()].unflatten(-1, columns.shape).movedim(-2, 0)


def _empty(place: Place, shifts: list[int]) -> Tensor:
    bands, width = _bands(LARGE)[:, place.band], WIDTH * REDUCED
    stack = [_all_shifts(band, [at], width)[0] for band, at in zip(bands, shifts, strict=True)]
    return tint(_compose(stack), place.weather)


@lru_cache(maxsize=1)
def _patterns() -> dict[str, Tensor]:
    """What covers each small pixel at each picture of a period, (24, 40, 64)."""
    return {
        kind: F.avg_pool2d(falling_cover(kind, LARGE, WIDTH * REDUCED, "cpu"), REDUCED)
        for kind in FALLING_PAINTS
    }


def _read_falling(small: Tensor, backdrops: Tensor, place: Place) -> tuple[bool, Tensor]:
    """Whether rain or snow falls, and the backdrops with what falls, or rises under water."""
    has_sky = place.setting not in WITHOUT_SKY
    kinds = ["rain", "snow"] if has_sky else ["bubbles"] * (place.setting == "underwater")
    shares = {kind: _match(small, backdrops, kind) for kind in kinds}
    most, covered = max(shares.values(), key=lambda found: found[0], default=(0.0, backdrops))
    seen = most > FALLING
    return seen and has_sky, covered if seen else backdrops


def _match(small: Tensor, backdrops: Tensor, kind: str) -> tuple[float, Tensor]:
    """How much of a pattern's contrast is there beside the subject, at the best phase of each picture."""
    pattern = _patterns()[kind]
    paint = torch.tensor(FALLING_PAINTS[kind]).view(3, 1, 1)
    beside = torch.ones(WIDTH)
    beside[BOX] = 0
    shares, covered = [], []
    for picture, backdrop in zip(small, backdrops, strict=True):
        expected = pattern[:, None] * (paint - backdrop) * beside
        seen = (picture - backdrop).clamp(-CLIPPED, CLIPPED)
        share = (expected * seen).sum((1, 2, 3)) / expected.square().sum((1, 2, 3)).clamp_min(1e-6)
        phase = int(share.argmax())
        shares.append(float(share[phase]))
        covered.append(backdrop.lerp(paint.expand_as(backdrop), pattern[phase].expand_as(backdrop)))
    return sum(shares) / len(shares), torch.stack(covered)
