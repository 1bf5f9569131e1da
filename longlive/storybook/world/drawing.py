"""The picture-book world: one subject, drawn by signed distances, that acts in front of a painted setting.

A *story* is a list of scenes. A scene is (setting, shape, colour, action, weather) and lasts some pictures;
the subject's place, turn and size carry over from scene to scene, and whatever a new scene changes besides
the action fades over ``FADE_FRAMES``. x is a torus, so the subject is never lost.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from longlive.storybook.world.scenery import paint_setting
from longlive.storybook.world.weather import WEATHERS, add_weather

HEIGHT, WIDTH, FPS = 80, 128, 16
FADE_FRAMES = 12

SETTINGS = ("meadow", "beach", "desert", "night", "snow")
SHAPES = ("ball", "cube", "star", "cat")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple")
ACTIONS = ("stand", "left", "right", "jump", "spin", "pulse", "float")

WEATHER_SHARES = (0.5, 0.25, 0.25)

PALETTE = {
    "red": (0.90, 0.13, 0.16),
    "orange": (0.98, 0.52, 0.06),
    "yellow": (1.00, 0.88, 0.12),
    "green": (0.10, 0.66, 0.26),
    "blue": (0.13, 0.36, 0.92),
    "purple": (0.58, 0.20, 0.78),
}
OUTLINE = (0.13, 0.10, 0.16)

START_X = (46.0, 82.0)
RADIUS = 17.0
GROUND_Y = 65.0
WALK_SPEED = 1.75
JUMP_PERIOD, JUMP_HEIGHT = 24, 20.0
SPIN_PERIOD = 24
PULSE_PERIOD, PULSE_SIZE = 24, 0.30
FLOAT_PERIOD, FLOAT_HEIGHT, FLOAT_SWING, FLOAT_RISE = 24, 17.0, 3.0, 2.0
BOX = 68


@dataclass(frozen=True)
class Scene:
    """What one prompt asks for."""

    setting: str
    shape: str
    colour: str
    action: str
    weather: str = "clear"

    @property
    def attributes(self) -> tuple[str, str, str, str, str]:
        """(setting, shape, colour, action, weather)."""
        return self.setting, self.shape, self.colour, self.action, self.weather


@dataclass(frozen=True)
class Motion:
    """The subject at each picture: x and lift (pixels), angle (radians), size, facing in [-1, 1]."""

    x: np.ndarray
    lift: np.ndarray
    angle: np.ndarray
    size: np.ndarray
    facing: np.ndarray


def is_held_out(scene: Scene) -> bool:
    """Whether this combination of attributes is kept from training (one in ten), to test composition."""
    setting, shape, colour, action, weather = scene.attributes
    code = (
        SETTINGS.index(setting) * 7
        + SHAPES.index(shape) * 3
        + COLOURS.index(colour) * 5
        + ACTIONS.index(action) * 11
        + SHAPES.index(shape) * ACTIONS.index(action)
        + WEATHERS.index(weather) * 3
    )
    return code % 10 == 4


def random_scene(rng: np.random.Generator, *, held_out: bool = False) -> Scene:
    """A random scene, from the combinations for training or from those held out."""
    while True:
        scene = Scene(
            SETTINGS[rng.integers(len(SETTINGS))],
            SHAPES[rng.integers(len(SHAPES))],
            COLOURS[rng.integers(len(COLOURS))],
            ACTIONS[rng.integers(len(ACTIONS))],
            str(rng.choice(WEATHERS, p=WEATHER_SHARES)),
        )
        if is_held_out(scene) == held_out:
            return scene


def move(actions: list[tuple[str, int]], start_x: float) -> Motion:
    """The subject's motion while it acts out ``(action, pictures)`` one after another."""
    x, angle, size, facing, lift = start_x, 0.0, 1.0, 0.0, 0.0
    rows = []
    for action, num_frames in actions:
        for frame in range(num_frames):
            target = {"left": -1.0, "right": 1.0}.get(action, 0.0)
            facing += float(np.clip(target - facing, -0.25, 0.25))
            if action in ("left", "right"):
                x += target * WALK_SPEED
            angle = _turn(angle, action)
            size = _pulse(size, frame) if action == "pulse" else size + float(np.clip(1 - size, -0.06, 0.06))
            lift = _lift(action, frame, lift)
            rows.append((x % WIDTH, lift, angle, size, facing))
    return Motion(*np.array(rows, dtype=np.float32).reshape(-1, 5).T)


def story_motion(scenes: list[tuple[Scene, int]], start_x: float) -> Motion:
    """The subject's motion in a story that begins at ``start_x`` pixels from the left."""
    return move([(scene.action, num_frames) for scene, num_frames in scenes], start_x)


def subject_cells(motion: Motion) -> np.ndarray:
    """Which 8 x 8 cells the subject touches in each picture: bool (F, 10, 16)."""
    reach = RADIUS * motion.size[:, None] * 1.3 + 4
    across = np.abs((np.arange(4, WIDTH, 8)[None] - motion.x[:, None] + WIDTH / 2) % WIDTH - WIDTH / 2)
    centre = GROUND_Y - RADIUS * motion.size - motion.lift
    down = np.abs(np.arange(4, HEIGHT, 8)[None] - centre[:, None])
    return (down < reach)[:, :, None] & (across < reach)[:, None, :]


def _turn(angle: float, action: str) -> float:
    step = 2 * math.pi / SPIN_PERIOD
    if action == "spin":
        return (angle + step) % (2 * math.pi)
    rest = (2 * math.pi - angle) % (2 * math.pi)
    return 0.0 if rest <= 1.5 * step or angle == 0 else angle + 1.5 * step


def _pulse(size: float, frame: int) -> float:
    target = 1 + PULSE_SIZE * math.sin(2 * math.pi * (frame + 1) / PULSE_PERIOD)
    return size + float(np.clip(target - size, -0.12, 0.12))


def _lift(action: str, frame: int, lift: float) -> float:
    if action == "jump":
        phase = ((frame + 1) % JUMP_PERIOD) / JUMP_PERIOD
        target = 4 * JUMP_HEIGHT * phase * (1 - phase)
    elif action == "float":
        target = FLOAT_HEIGHT + FLOAT_SWING * math.sin(2 * math.pi * (frame + 1) / FLOAT_PERIOD)
        return lift + float(np.clip(target - lift, -FLOAT_RISE, FLOAT_RISE))
    elif action in ("left", "right"):
        target = 2.0 * abs(math.sin(2 * math.pi * (frame + 1) / 12))
    else:
        target = 0.0
    return lift + float(np.clip(target - lift, -4.0, 4.0))


def draw_story(
    scenes: list[tuple[Scene, int]], rng: np.random.Generator, *, start_x: float | None = None
) -> Tensor:
    """Pictures of a story: uint8 (F, 3, 80, 128), RGB.

    Args:
        scenes: (scene, number of pictures) in order.
        rng: draws the starting place, unless ``start_x`` (pixels from the left) is given.
    """
    motion = story_motion(scenes, float(rng.uniform(*START_X)) if start_x is None else start_x)
    owner = np.repeat(np.arange(len(scenes)), [num_frames for _, num_frames in scenes])
    blend = np.concatenate([_fade(i, num_frames) for i, (_, num_frames) in enumerate(scenes)])
    backdrop = torch.stack([backdrop_of(scene) for scene, _ in scenes])
    colour = torch.tensor([PALETTE[scene.colour] for scene, _ in scenes])
    shape = torch.eye(len(SHAPES))[[SHAPES.index(scene.shape) for scene, _ in scenes]]
    now, before = torch.from_numpy(owner), torch.from_numpy(np.maximum(owner - 1, 0))
    mix = torch.from_numpy(blend)

    def faded(values: Tensor) -> Tensor:
        weight = mix.view(-1, *[1] * (values.dim() - 1))
        return values[now] * weight + values[before] * (1 - weight)

    pictures = faded(backdrop)
    add_weather(pictures, faded(torch.eye(len(WEATHERS))[[WEATHERS.index(s.weather) for s, _ in scenes]]))
    _draw_subject(pictures, motion, faded(colour), faded(shape))
    return (pictures.clamp_(0, 1) * 255).round_().to(torch.uint8)


def _fade(scene_index: int, num_frames: int) -> np.ndarray:
    if scene_index == 0:
        return np.ones(num_frames, dtype=np.float32)
    return np.minimum((np.arange(num_frames, dtype=np.float32) + 1) / FADE_FRAMES, 1)


def backdrop_of(scene: Scene) -> Tensor:
    """The empty setting in fine weather, float (3, 80, 128) in [0, 1]."""
    return _backdrop(scene.setting)


@lru_cache(maxsize=len(SETTINGS))
def _backdrop(setting: str) -> Tensor:
    return torch.from_numpy(paint_setting(setting, HEIGHT, WIDTH))


def outline_of(shape: str, a: Tensor, b: Tensor) -> Tensor:
    """Signed distance, in radii, of points (a to the right, b down) to an upright shape's outline."""
    return _DISTANCES[shape](a, b)


def _draw_subject(pictures: Tensor, motion: Motion, colour: Tensor, shape: Tensor) -> None:
    """Draw the subject into float pictures (F, 3, H, W), in place, within a box around it."""
    x, lift, angle, size, facing = (torch.from_numpy(part) for part in vars(motion).values())
    radius = RADIUS * size
    centre_y = GROUND_Y - radius * _standing_height(shape) - lift
    left = (x - BOX / 2).floor().long()
    columns = (left[:, None] + torch.arange(BOX)) % WIDTH
    index = columns[:, None, None, :].expand(-1, 3, HEIGHT, -1)
    box = pictures.gather(3, index)
    u = (left[:, None] + torch.arange(BOX) + 0.5 - x[:, None])[:, None, :]
    rows = torch.arange(HEIGHT) + 0.5
    shadow_width = radius * (0.95 - 0.02 * lift)
    shadow = (u / shadow_width[:, None, None]) ** 2 + ((rows[None, :, None] - GROUND_Y) / 4.0) ** 2
    box *= 1 - 0.38 * (1 - shadow).clamp(0, 0.4)[:, None] / 0.4
    v = (rows[None] - centre_y[:, None])[:, :, None]
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    a, b = u * cos + v * sin, -u * sin + v * cos
    scale = radius[:, None, None]
    _paint_body(box, a / scale, b / scale, scale, colour, shape)
    _paint_face(box, a / scale, b / scale, scale, facing[:, None, None])
    pictures.scatter_(3, index, box)


def _standing_height(shape: Tensor) -> Tensor:
    """How far the centre stands above the ground, in radii."""
    return shape @ torch.tensor([1.0, 0.90, 0.95, 0.95])


def _paint_body(box: Tensor, a: Tensor, b: Tensor, scale: Tensor, colour: Tensor, shape: Tensor) -> None:
    present = shape.sum(0) > 0
    distance = torch.zeros_like(a)
    for i, name in enumerate(SHAPES):
        if present[i]:
            distance = distance + shape[:, i, None, None] * _DISTANCES[name](a, b)
    distance = distance * scale
    light = (1.0 - 0.22 * (a + b)).clamp(0.72, 1.25)[:, None]
    fill = (colour[:, :, None, None] * light).clamp(0, 1)
    _cover(box, (0.5 - distance).clamp(0, 1), torch.tensor(OUTLINE)[None, :, None, None])
    _cover(box, (-1.3 - distance).clamp(0, 1), fill)


def _paint_face(box: Tensor, a: Tensor, b: Tensor, scale: Tensor, facing: Tensor) -> None:
    white, dark = torch.ones(1, 3, 1, 1), torch.tensor(OUTLINE)[None, :, None, None]
    shift = 0.28 * facing
    for side in (-1, 1):
        centre_a, centre_b = shift + 0.30 * side, -0.16
        eye = ((a - centre_a) ** 2 + ((b - centre_b) * 0.85) ** 2).sqrt()
        _cover(box, ((0.235 - eye) * scale + 0.5).clamp(0, 1), white)
        pupil = ((a - centre_a - 0.08 * facing) ** 2 + (b - centre_b - 0.02) ** 2).sqrt()
        _cover(box, ((0.125 - pupil) * scale + 0.5).clamp(0, 1), dark)
    smile = (((a - shift) ** 2 + (b - 0.08) ** 2).sqrt() - 0.30).abs()
    mouth = torch.where(b > 0.20, smile, torch.ones_like(smile))
    _cover(box, ((0.055 - mouth) * scale + 0.5).clamp(0, 1), dark)


def _cover(box: Tensor, alpha: Tensor, paint: Tensor) -> None:
    box += alpha[:, None] * (paint - box)


def _ball(a: Tensor, b: Tensor) -> Tensor:
    return (a * a + b * b).sqrt() - 1.0


def _cube(a: Tensor, b: Tensor) -> Tensor:
    p, q = a.abs() - 0.70, b.abs() - 0.70
    return (p.clamp(min=0) ** 2 + q.clamp(min=0) ** 2).sqrt() + torch.maximum(p, q).clamp(max=0) - 0.20


def _star(a: Tensor, b: Tensor) -> Tensor:
    turn = torch.atan2(a, -b)
    sector = 2 * math.pi / 5
    local = (turn + sector / 2).remainder(sector) - sector / 2
    reach = (a * a + b * b).sqrt()
    p, q = reach * local.cos(), reach * local.sin().abs()
    tip, notch = 1.30, 0.66
    notch_p, notch_q = notch * math.cos(sector / 2), notch * math.sin(sector / 2)
    edge_p, edge_q = notch_p - tip, notch_q
    length = math.hypot(edge_p, edge_q)
    return (-(p - tip) * edge_q + q * edge_p) / -length - 0.04


def _cat(a: Tensor, b: Tensor) -> Tensor:
    head = ((a / 1.02) ** 2 + ((b - 0.05) / 0.92) ** 2).sqrt() - 0.97
    p, q = (a.abs() - 0.66).abs(), b + 1.18
    ear = torch.maximum(p * 0.90 - q * 0.44, q - 0.90)
    return torch.minimum(head, ear)


_DISTANCES = {"ball": _ball, "cube": _cube, "star": _star, "cat": _cat}
