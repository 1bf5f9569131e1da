"""Reads setting, weather, colour, shape, action and the number of subjects off pictures; no trained network.

It knows the world's empty settings, palette and outlines, and nothing of what was asked for.
"""

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from longlive.storybook.world.drawing import (
    COLOURS,
    FLOAT_HEIGHT,
    GROUND_Y,
    HEIGHT,
    PALETTE,
    PULSE_SIZE,
    SETTINGS,
    SHAPES,
    SPIN_PERIOD,
    WALK_SPEED,
    WIDTH,
    Scene,
    backdrop_of,
    outline_of,
)
from longlive.storybook.world.weather import WEATHERS, tinted

SUBJECT_CONTRAST = 0.30
SMALLEST_SUBJECT = 100
SMALLEST_FOOT = 5
FALLING = 0.005
SECOND_SUBJECT = 0.2
CANONICAL = 24
NUM_ANGLES = 24


@dataclass(frozen=True)
class Reading:
    """What the oracle sees in some pictures; a part is "" when nothing can be made out."""

    setting: str
    shape: str
    colour: str
    action: str
    weather: str
    has_one_subject: bool

    @property
    def attributes(self) -> tuple[str, str, str, str, str]:
        """(setting, shape, colour, action, weather)."""
        return self.setting, self.shape, self.colour, self.action, self.weather


@dataclass(frozen=True)
class Track:
    """The subject in each picture: its mask, centre (pixels), area, lowest row and turn (radians)."""

    masks: Tensor
    x: np.ndarray
    y: np.ndarray
    area: np.ndarray
    foot: np.ndarray
    turn: np.ndarray


def read(pictures: Tensor) -> Reading:
    """Read some pictures, at least 8.

    Args:
        pictures: uint8 or float in [0, 255], (F, 3, 80, 128).
    """
    values = pictures.float() / 255
    setting, weather, backdrop = read_setting(values)
    masks, counts = find_subjects((values - backdrop).abs().sum(1) > SUBJECT_CONTRAST)
    seen = masks.flatten(1).sum(1) >= SMALLEST_SUBJECT
    has_one = bool((counts == 1).float().mean() >= 0.8)
    if seen.float().mean() < 0.5:
        return Reading(setting, "", "", "", weather, has_one)
    track = follow(values[seen], masks[seen])
    shape, colour, action = read_shape(track), _read_colour(values[seen], track), _read_action(track)
    return Reading(setting, shape, colour, action, weather, has_one)


def read_setting(values: Tensor) -> tuple[str, str, Tensor]:
    """The setting, the weather ("" if its light and its fall do not agree) and the empty backdrop of both."""
    still = values.median(0).values

    def difference(pair: tuple[str, str]) -> float:
        return float((still - _backdrop(*pair)).abs().sum(0).clamp(max=0.5).mean())

    setting, weather = min(itertools.product(SETTINGS, WEATHERS), key=difference)
    top = values[:, :, : HEIGHT // 8]
    is_falling = float((top[4:] - top[:-4]).abs().mean()) > FALLING  # a codec flickers in fours
    return setting, weather if is_falling == (weather != "clear") else "", _backdrop(setting, weather)


@lru_cache(maxsize=len(SETTINGS) * len(WEATHERS))
def _backdrop(setting: str, weather: str) -> Tensor:
    return tinted(backdrop_of(Scene(setting, SHAPES[0], COLOURS[0], "stand")), weather)


def find_subjects(different: Tensor) -> tuple[Tensor, Tensor]:
    """The largest connected region of each picture (F, H, W), and how many regions have a subject's size."""
    labels = _components(different)
    masks, counts = [], []
    for label in labels:
        sizes = torch.bincount(label.flatten())
        sizes[0] = 0
        largest = int(sizes.argmax())
        masks.append((label == largest) if sizes[largest] else torch.zeros_like(label, dtype=torch.bool))
        counts.append(int((sizes >= max(SMALLEST_SUBJECT / 2, SECOND_SUBJECT * sizes[largest].item())).sum()))
    return torch.stack(masks), torch.tensor(counts)


def _components(mask: Tensor) -> Tensor:
    """Number the connected regions of (F, H, W), left and right sides joined; 0 is background.

    Regions are cells of 2 x 2 pixels, at least half of them different: an eighth of the work, and a raindrop
    between a subject and its shadow joins them seldom.
    """
    coarse = (F.avg_pool2d(mask[:, None].float(), 2)[:, 0] >= 0.5).float()
    labels = torch.arange(1, coarse[0].numel() + 1).view(1, *coarse.shape[1:]).float() * coarse
    while True:
        grown = _largest_near(labels) * coarse
        if torch.equal(grown, labels):
            return (F.interpolate(labels[:, None], scale_factor=2)[:, 0] * mask).long()
        labels = grown


def _largest_near(values: Tensor) -> Tensor:
    """The largest of each 3 x 3 neighbourhood of (F, H, W): what max_pool2d gives, 20 times as fast."""
    wide = torch.maximum(torch.maximum(values.roll(1, 2), values), values.roll(-1, 2))
    tall = wide.clone()
    torch.maximum(tall[:, 1:], wide[:, :-1], out=tall[:, 1:])
    torch.maximum(tall[:, :-1], wide[:, 1:], out=tall[:, :-1])
    return tall


def follow(values: Tensor, masks: Tensor) -> Track:
    """Where the subject is in pictures (F, 3, H, W), in [0, 1], in which ``masks`` (F, H, W) show it."""
    weight = masks.float()
    area = weight.sum((1, 2))
    angle = 2 * math.pi * (torch.arange(WIDTH) + 0.5) / WIDTH
    columns = weight.sum(1)
    x = torch.atan2((columns * angle.sin()).sum(1), (columns * angle.cos()).sum(1)) * WIDTH / (2 * math.pi)
    rows = torch.arange(HEIGHT) + 0.5
    y = (weight.sum(2) * rows).sum(1) / area
    foot = (rows * (weight.sum(2) >= SMALLEST_FOOT)).amax(1)
    return Track(masks, x.numpy(), y.numpy(), area.numpy(), foot.numpy(), _turns(values, x, y, area))


def _turns(values: Tensor, x: Tensor, y: Tensor, area: Tensor) -> np.ndarray:
    """How far the face is turned in each picture: the bearing of the white of the eyes from the centre."""
    across = (torch.arange(WIDTH) + 0.5 - x[:, None] + WIDTH / 2) % WIDTH - WIDTH / 2
    down = torch.arange(HEIGHT) + 0.5 - y[:, None]
    u, v = across[:, None, :], down[:, :, None]
    near = u.square() + v.square() < (0.62**2 / math.pi * area)[:, None, None]
    white = values.amin(1).clamp(0.45, 1) - 0.45
    weight = white * near
    total = weight.sum((1, 2)).clamp_min(1e-6)
    return torch.atan2((weight * u).sum((1, 2)) / total, -(weight * v).sum((1, 2)) / total).numpy()


def read_colours(pictures: Tensor) -> list[str]:
    """The subject's colour in each of some pictures, at least 8; "" where none can be made out.

    Args:
        pictures: as for ``read``.
    """
    values = pictures.float() / 255
    masks, _ = find_subjects((values - read_setting(values)[2]).abs().sum(1) > SUBJECT_CONTRAST)
    return [_colour_of(picture.permute(1, 2, 0)[mask]) for picture, mask in zip(values, masks, strict=True)]


def _read_colour(values: Tensor, track: Track) -> str:
    return _colour_of(values.permute(0, 2, 3, 1)[track.masks])


def _colour_of(pixels: Tensor) -> str:
    """The colour of most of the vivid pixels (N, 3); "" if there are hardly any."""
    if not len(pixels):
        return ""
    bright, dark = pixels.amax(1), pixels.amin(1)
    vivid = pixels[(bright - dark > 0.35 * bright) & (bright > 0.3)]
    if len(vivid) < 10:
        return ""
    palette = torch.tensor([PALETTE[colour] for colour in COLOURS])
    near = (chroma(vivid)[:, None] - chroma(palette)[None]).square().sum(2).argmin(1)
    return COLOURS[int(near.bincount(minlength=len(COLOURS)).argmax())]


def chroma(colours: Tensor) -> Tensor:
    """Colours (N, 3) at length 1, so that light and shade do not count."""
    return colours / colours.norm(dim=1, keepdim=True).clamp_min(1e-6)


def read_shape(track: Track) -> str:
    """The shape whose outline, at any angle, overlaps best with the subject's."""
    chosen = np.linspace(0, len(track.area) - 1, min(12, len(track.area))).astype(int)
    crops = torch.stack(
        [_canonical(track.masks[i].float(), track.x[i], track.y[i], track.area[i]) for i in chosen]
    )
    templates = _templates().flatten(2)
    crops = crops.flatten(1)[:, None, None]
    overlap = torch.minimum(crops, templates).sum(3) / torch.maximum(crops, templates).sum(3)
    return SHAPES[int(overlap.amax(2).mean(0).argmax())]


def _canonical(mask: Tensor, x: float, y: float, area: float) -> Tensor:
    """A mask (H, W) at one size: (24, 24), centred, its area that of a disc of radius 0.6."""
    rolled = mask.roll(round(WIDTH / 2 - float(x)), 1)
    x = float(x) + round(WIDTH / 2 - float(x))
    reach = math.sqrt(float(area) / math.pi) / 0.6
    grid = torch.linspace(-1 + 1 / CANONICAL, 1 - 1 / CANONICAL, CANONICAL) * reach
    rows, columns = (float(y) + grid) / HEIGHT * 2 - 1, (x + grid) / WIDTH * 2 - 1
    points = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)
    return F.grid_sample(rolled[None, None], points[None], align_corners=False)[0, 0]


@lru_cache(maxsize=1)
def _templates() -> Tensor:
    """Each shape at each angle: (shapes, angles, 24, 24)."""
    size = 64
    grid = torch.linspace(-2 + 2 / size, 2 - 2 / size, size)
    v, u = torch.meshgrid(grid, grid, indexing="ij")
    shapes = []
    for shape in SHAPES:
        turned = []
        for step in range(NUM_ANGLES):
            angle = 2 * math.pi * step / NUM_ANGLES
            a, b = u * math.cos(angle) + v * math.sin(angle), -u * math.sin(angle) + v * math.cos(angle)
            mask = (outline_of(shape, a, b) < 0.04).float()
            area = mask.sum()
            cx, cy = ((mask * u).sum() / area), ((mask * v).sum() / area)
            reach = math.sqrt(float(area) * (4 / size) ** 2 / math.pi) / 0.6
            lin = torch.linspace(-1 + 1 / CANONICAL, 1 - 1 / CANONICAL, CANONICAL) * reach
            points = torch.stack(torch.meshgrid((cy + lin) / 2, (cx + lin) / 2, indexing="ij")[::-1], dim=-1)
            turned.append(F.grid_sample(mask[None, None], points[None], align_corners=False)[0, 0])
        shapes.append(torch.stack(turned))
    return torch.stack(shapes)


def _read_action(track: Track) -> str:
    steps = (np.diff(track.x) + WIDTH / 2) % WIDTH - WIDTH / 2
    speed = float(np.median(steps))
    if abs(speed) > 0.4 * WALK_SPEED:
        return "right" if speed > 0 else "left"
    turning = (np.diff(track.turn) + math.pi) % (2 * math.pi) - math.pi
    if abs(float(np.median(turning))) > 0.4 * 2 * math.pi / SPIN_PERIOD:
        return "spin"
    low, high = np.quantile(track.area, [0.1, 0.9])
    if high / low > (1 + 0.45 * PULSE_SIZE) / (1 - 0.45 * PULSE_SIZE):
        return "pulse"
    high, low = np.quantile(track.foot, [0.1, 0.9])
    if low < GROUND_Y - 0.4 * FLOAT_HEIGHT:
        return "float"
    return "jump" if low - high > 8 else "stand"
