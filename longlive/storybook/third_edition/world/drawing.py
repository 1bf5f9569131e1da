"""Stories to pictures, in batches, at any size, on any device."""

from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from longlive.storybook.third_edition.world.figure import PALETTE
from longlive.storybook.third_edition.world.motion import (
    Pose,
    Story,
    Timeline,
    build_timeline,
    compute_poses,
    compute_scroll,
)
from longlive.storybook.third_edition.world.scene import COLOURS, PROPS, SETTINGS, SUBJECTS, WEATHERS
from longlive.storybook.third_edition.world.scenery import DEPTHS, backdrop_index, paint_bands
from longlive.storybook.third_edition.world.subjects import draw_figure
from longlive.storybook.third_edition.world.weather import add_weather

SIZE = (160, 256)
RADIUS = 0.155  # of the head, in heights of the picture
GROUND = 0.87
HALF_BOX = 0.46


def draw_stories(
    stories: Sequence[Story], *, size: tuple[int, int] = SIZE, device: torch.device | str = "cpu"
) -> Tensor:
    """Pictures of a batch of stories of the same length: float (B, T, 3, H, W) in [0, 1], RGB.

    Args:
        stories: each a list of (scene, number of pictures).
        size: height and width in pixels; the width 1.6 times the height, the height a multiple of 10.
        device: where to draw.

    Raises:
        ValueError: the stories differ in length.
    """
    timeline = build_timeline(stories, device)
    return draw_timeline(timeline, size)


def draw_timeline(timeline: Timeline, size: tuple[int, int] = SIZE, chosen: Tensor | None = None) -> Tensor:
    """Pictures of a batch of stories, as ``draw_stories`` gives them.

    Args:
        timeline: of the whole stories.
        size: height and width in pixels.
        chosen: numbers (B, t) of the pictures to draw; None for all.
    """
    pose = compute_poses(timeline)
    scroll, scroll_before = compute_scroll(timeline, pose.speed)
    count = torch.arange(timeline.time.shape[1], device=timeline.time.device).expand_as(timeline.time)
    shape = timeline.time.shape if chosen is None else chosen.shape

    def pick(value: Tensor) -> Tensor:
        return (value if chosen is None else value.gather(1, chosen)).flatten()

    flat = Timeline(
        {name: pick(value) for name, value in timeline.now.items()},
        {name: pick(value) for name, value in timeline.before.items()},
        *(pick(getattr(timeline, name)) for name in ("time", "time_before", "fade", "place")),
    )
    pose = Pose(**{field.name: pick(getattr(pose, field.name)) for field in fields(Pose)})
    pictures = _backdrops(flat, pick(scroll), pick(scroll_before), size)
    add_weather(pictures, _weather_amounts(flat), pick(count))
    _draw_subjects(pictures, flat, pose)
    return pictures.clamp_(0, 1).unflatten(0, shape)


def _backdrops(timeline: Timeline, scroll: Tensor, scroll_before: Tensor, size: tuple[int, int]) -> Tensor:
    index = backdrop_index(timeline.now["setting"], timeline.now["light"])
    old_index = backdrop_index(timeline.before["setting"], timeline.before["light"])
    pictures = _scenery(index, scroll, size)
    fades = ((timeline.fade < 1) & (index != old_index)).nonzero().flatten()
    if len(fades):
        old = _scenery(old_index[fades], scroll_before[fades], size)
        weight = timeline.fade[fades].view(-1, 1, 1, 1)
        pictures[fades] = old.lerp_(pictures[fades], weight)
    return pictures


def _scenery(index: Tensor, scroll: Tensor, size: tuple[int, int]) -> Tensor:
    """Empty scenes (N, 3, H, W), seen by a camera that has moved ``scroll`` picture heights to the right."""
    height, width = size
    bands = paint_bands(height, str(index.device))
    columns = bands.shape[2]
    across = torch.arange(width, device=index.device)
    picture = torch.zeros(len(index), width, 3, height, device=index.device)
    for band, depth in zip(bands, DEPTHS, strict=True):
        first = (scroll * depth * height).round().long()
        rows = index[:, None] * columns + (first[:, None] + across) % columns
        seen = band.flatten(0, 1).index_select(0, rows.flatten()).view(len(index), width, 4, height)
        picture = seen[:, :, :3] + picture * (1 - seen[:, :, 3:])
    return picture.permute(0, 2, 3, 1).contiguous()


def _weather_amounts(timeline: Timeline) -> Tensor:
    def amounts(values: dict[str, Tensor]) -> Tensor:
        weather, setting = values["weather"], values["setting"]
        wet = [weather == WEATHERS.index("rain"), weather == WEATHERS.index("snow")]
        return torch.stack([*wet, setting == SETTINGS.index("underwater")], -1).float()

    old, new = amounts(timeline.before), amounts(timeline.now)
    return old + timeline.fade[:, None] * (new - old)


def _draw_subjects(pictures: Tensor, timeline: Timeline, pose: Pose) -> None:
    height, width = pictures.shape[2:]
    device = pictures.device
    half = round(HALF_BOX * height)
    left = width // 2 - half
    scale = RADIUS * height
    x = ((torch.arange(2 * half, device=device) + 0.5 - half) / scale)[None, None, :]
    y = ((torch.arange(height, device=device) + 0.5 - GROUND * height) / scale)[None, :, None]
    palette = torch.tensor([PALETTE[name] for name in COLOURS], device=device)
    colour = palette[timeline.before["colour"]].lerp(palette[timeline.now["colour"]], timeline.fade[:, None])
    before, now = (
        one_hot(values["prop"], len(PROPS)).float().T for values in (timeline.before, timeline.now)
    )
    props = {
        name: before[index].lerp(now[index], timeline.fade)
        for index, name in enumerate(PROPS)
        if name != "none"
    }
    # At a change of subject the old one shrinks away and the new one grows.
    changes = timeline.now["subject"] != timeline.before["subject"]
    shown = torch.where(changes & (timeline.fade < 0.5), timeline.before["subject"], timeline.now["subject"])
    size = torch.where(changes, ((2 * timeline.fade - 1).abs() * 1.05).clamp(0.02, 1), 1.0)
    for index, name in enumerate(SUBJECTS):
        chosen = (shown == index).nonzero().flatten()
        if not len(chosen):
            continue
        box = pictures[chosen, :, :, left : left + 2 * half]
        small = size[chosen].view(-1, 1, 1)
        draw_figure(
            box,
            x / small,
            y / small,
            scale,
            name,
            Pose(**{field.name: getattr(pose, field.name)[chosen] for field in fields(Pose)}),
            colour[chosen],
            {prop: amount[chosen] for prop, amount in props.items()},
            timeline.time[chosen].float(),
        )
        pictures[chosen, :, :, left : left + 2 * half] = box
