"""How the subject moves: a pose for each picture, a pure function of the scenes and of time.

Lengths are in units of the subject's head radius, angles in radians, time in pictures (16 a second). Where
a scene follows another, the two poses are blended over ``BLEND`` pictures.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from longlive.storybook.third_edition.world.scene import ACTIONS, ATTRIBUTES, Scene

FPS = 16
PERIOD = 24
BLEND = 8
FADE = 12
SCROLL_SPEED = 4 / 160  # of the picture's height, a picture

Story = Sequence[tuple[Scene, int]]


@dataclass(frozen=True)
class Timeline:
    """A batch of stories, picture by picture: every tensor is (B, T).

    Attributes:
        now, before: for each attribute, the index of its value in the present and in the previous scene.
        time: pictures since the scene began.
        time_before: pictures since the previous scene began.
        fade: share of the present scene in the cross-fade, in [0, 1]; 1 in a first scene.
        place: number of changes of setting so far.
    """

    now: dict[str, Tensor]
    before: dict[str, Tensor]
    time: Tensor
    time_before: Tensor
    fade: Tensor
    place: Tensor


def build_timeline(stories: Sequence[Story], device: torch.device | str = "cpu") -> Timeline:
    """Lay out stories of the same total length.

    Raises:
        ValueError: stories differ in length, or one is empty.
    """
    lengths = {sum(length for _, length in story) for story in stories}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"Stories of the same length expected, not of {sorted(lengths)} pictures.")
    now: dict[str, list[list[int]]] = {name: [] for name in ATTRIBUTES}
    before: dict[str, list[list[int]]] = {name: [] for name in ATTRIBUTES}
    rows: list[list[tuple[int, int, int, int]]] = []
    for story in stories:
        previous, length_before, place, clock = story[0][0], 0, 0, []
        for name in ATTRIBUTES:
            now[name].append([])
            before[name].append([])
        for index, (scene, length) in enumerate(story):
            place += scene.setting != previous.setting
            clock += [(t, t + length_before, index, place) for t in range(length)]
            for name in ATTRIBUTES:
                now[name][-1] += [scene.index_of(name)] * length
                before[name][-1] += [previous.index_of(name)] * length
            previous, length_before = scene, length
        rows.append(clock)
    table = torch.tensor(rows, device=device)
    time, time_before, scene_index, place_at = table.unbind(-1)
    fade = torch.where(scene_index == 0, 1.0, ((time + 1) / FADE).clamp(max=1))
    return Timeline(
        {name: torch.tensor(values, device=device) for name, values in now.items()},
        {name: torch.tensor(values, device=device) for name, values in before.items()},
        time,
        time_before,
        fade,
        place_at,
    )


@dataclass(frozen=True)
class Pose:
    """The subject at each picture; every tensor has the same shape.

    Attributes:
        speed: to the right, 1 is walking; lift: above the ground; angle: turned clockwise round its middle;
        lean: turned clockwise round its feet; squash: height, 1 is normal; facing: -1 left to 1 right;
        arm_left, arm_right: raised from hanging, on the picture's left and right; stride: of the feet, -1 to
        1; step_left, step_right: feet above the ground; asleep, mouth, music: 0 to 1; wag: of the tail.
    """

    speed: Tensor
    lift: Tensor
    angle: Tensor
    lean: Tensor
    squash: Tensor
    facing: Tensor
    arm_left: Tensor
    arm_right: Tensor
    stride: Tensor
    step_left: Tensor
    step_right: Tensor
    asleep: Tensor
    mouth: Tensor
    music: Tensor
    wag: Tensor


_NAMES = tuple(field.name for field in fields(Pose))
_REST = {"squash": 1.0, "arm_left": 0.35, "arm_right": 0.35}
Values = dict[str, Tensor]


def compute_poses(timeline: Timeline) -> Pose:
    """The pose at each picture of a batch of stories."""
    new, old = (
        _poses(timeline.now["action"], timeline.time),
        _poses(timeline.before["action"], timeline.time_before),
    )
    old_turn = _poses(timeline.before["action"], timeline.time_before - timeline.time)["angle"]
    same = (timeline.now["action"] == timeline.before["action"]) & (timeline.time != timeline.time_before)
    weight = ((timeline.time + 1) / BLEND).clamp(max=1)
    weight = torch.where(timeline.time == timeline.time_before, 1.0, weight * weight * (3 - 2 * weight))
    blended = {name: old[name] + weight * (new[name] - old[name]) for name in _NAMES}
    rest = torch.where(old_turn > 0.01, 2 * math.pi, 0.0)
    blended["angle"] = torch.where(
        weight < 1, old_turn + weight * (rest - old_turn) + weight * new["angle"], new["angle"]
    )
    return Pose(**{name: torch.where(same, old[name], blended[name]) for name in _NAMES})


def compute_scroll(timeline: Timeline, speed: Tensor) -> tuple[Tensor, Tensor]:
    """Camera position in the present and in the previous setting, in picture heights: (B, T) each.

    Every change of setting starts at position 0.
    """
    distance = (speed * SCROLL_SPEED).cumsum(1)
    entries = torch.zeros(len(distance), int(timeline.place.max()) + 1, device=distance.device)
    for place in range(1, entries.shape[1]):
        first = (timeline.place == place) & ((timeline.place == place).cumsum(1) == 1)
        entries[:, place] = (distance * first).sum(1)
    start = entries.gather(1, timeline.place)
    stays = timeline.now["setting"] == timeline.before["setting"]
    start_before = torch.where(stays, start, entries.gather(1, (timeline.place - 1).clamp(min=0)))
    return distance - start, distance - start_before


def _poses(action: Tensor, time: Tensor) -> Values:
    result = {name: torch.full(time.shape, _REST.get(name, 0.0), device=time.device) for name in _NAMES}
    clock = time.float()
    for index, name in enumerate(ACTIONS):
        here = action == index
        for key, value in _ACTIONS[name](clock).items():
            result[key] = torch.where(here, value, result[key])
    return result


def _wave(time: Tensor, period: float, phase: float = 0.0) -> Tensor:
    return torch.sin(2 * math.pi * (time / period + phase))


def _stand(t: Tensor) -> Values:
    return {"squash": 1 + 0.018 * _wave(t, PERIOD), "wag": 0.5 * _wave(t, PERIOD)}


def _walk(t: Tensor, direction: float) -> Values:
    step = _wave(t, 12)
    full = torch.full_like(t, direction)
    return {
        "speed": full,
        "facing": full,
        "stride": direction * _wave(t, 12, 0.25),
        "step_left": 0.26 * step.clamp(min=0),
        "step_right": 0.26 * (-step).clamp(min=0),
        "arm_left": 0.45 + 0.40 * step,
        "arm_right": 0.45 - 0.40 * step,
        "lift": 0.07 * step.abs(),
        "lean": 0.05 * full,
        "wag": 0.5 * step,
    }


def _jump(t: Tensor) -> Values:
    phase = (t % PERIOD) / PERIOD
    air = ((phase - 0.14) / 0.72).clamp(0, 1)
    height = 4 * air * (1 - air)
    crouch = (1 - (torch.minimum(phase, 1 - phase) / 0.14)).clamp(0, 1)
    return {
        "lift": 1.15 * height,
        "squash": 1 - 0.16 * crouch + 0.05 * (height * (1 - height) * 4),
        "arm_left": 0.3 + 1.7 * height,
        "arm_right": 0.3 + 1.7 * height,
        "mouth": height,
        "wag": height,
    }


def _spin(t: Tensor) -> Values:
    return {
        "angle": (2 * math.pi / PERIOD * t) % (2 * math.pi),
        "lift": torch.full_like(t, 0.55),
        "arm_left": torch.full_like(t, 1.3),
        "arm_right": torch.full_like(t, 1.3),
        "mouth": torch.ones_like(t),
    }


def _greet(t: Tensor) -> Values:
    return {
        "arm_right": 2.2 + 0.40 * _wave(t, 12),
        "lean": 0.03 * _wave(t, 12),
        "mouth": torch.ones_like(t),
        "wag": 0.8 * _wave(t, 12),
    }


def _dance(t: Tensor) -> Values:
    sway, bounce = _wave(t, PERIOD), _wave(t, PERIOD).abs()
    return {
        "lean": 0.24 * sway,
        "facing": 0.45 * sway,
        "lift": 0.14 * bounce,
        "squash": 1.03 - 0.08 * (1 - bounce),
        "arm_left": 1.5 - 0.95 * sway,
        "arm_right": 1.5 + 0.95 * sway,
        "step_left": 0.22 * sway.clamp(min=0),
        "step_right": 0.22 * (-sway).clamp(min=0),
        "mouth": torch.ones_like(t),
        "music": torch.ones_like(t),
        "wag": 0.8 * sway,
    }


def _sleep(t: Tensor) -> Values:
    return {
        "squash": 0.84 + 0.03 * _wave(t, PERIOD),
        "lean": torch.full_like(t, 0.10),
        "asleep": torch.ones_like(t),
        "arm_left": torch.full_like(t, 0.15),
        "arm_right": torch.full_like(t, 0.15),
    }


def _float(t: Tensor) -> Values:
    flap = _wave(t, 12)
    return {
        "lift": 0.90 + 0.12 * _wave(t, PERIOD),
        "lean": 0.06 * _wave(t, PERIOD, 0.25),
        "arm_left": 1.35 + 0.45 * flap,
        "arm_right": 1.35 + 0.45 * flap,
        "mouth": torch.ones_like(t),
        "wag": 0.7 * _wave(t, PERIOD),
    }


_ACTIONS: dict[str, Callable[[Tensor], Values]] = {
    "stand": _stand,
    "left": lambda t: _walk(t, -1.0),
    "right": lambda t: _walk(t, 1.0),
    "jump": _jump,
    "spin": _spin,
    "wave": _greet,
    "dance": _dance,
    "sleep": _sleep,
    "float": _float,
}
