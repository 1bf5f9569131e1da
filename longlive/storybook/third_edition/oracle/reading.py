"""Reads setting, subject, colour, action, weather, light and prop off pictures; no trained network."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from longlive.storybook.third_edition.oracle.figures import BOX, all_drawings, errors_of
from longlive.storybook.third_edition.oracle.scenery import LARGE, REDUCED, Scenery, read_scenery
from longlive.storybook.third_edition.world.figure import PALETTE
from longlive.storybook.third_edition.world.motion import SCROLL_SPEED
from longlive.storybook.third_edition.world.scene import ACTIONS, COLOURS, PROPS, SUBJECTS

STEP = 2
"""Every second picture is read."""
SEGMENT = 6
"""Pictures that have to show a motion in the right order; from one segment to the next it may slip."""
WALKING = 0.4
"""Share of the camera's speed from which the subject walks."""
EXPLAINED = 0.3
"""Share of what is not scenery in the middle that the best drawing has to explain to be a subject."""
OTHER = 0.30
"""Error of a pixel, summed over the colours, from which something else is there."""
SECOND_SUBJECT = 0.1
"""Size of a second subject without its rim, as a share of the first one's; a prop's lag leaves only rims."""
MOST_STRANGE = 0.2
"""Share of the pictures that may show something else."""


@dataclass(frozen=True)
class Reading:
    """What the oracle sees in some pictures; a part is "" when nothing can be made out."""

    setting: str
    subject: str
    colour: str
    action: str
    weather: str
    light: str
    prop: str
    has_one_subject: bool

    @property
    def attributes(self) -> tuple[str, ...]:
        """The seven values, in the order of ``scene.ATTRIBUTES``."""
        return (
            self.setting,
            self.subject,
            self.colour,
            self.action,
            self.weather,
            self.light,
            self.prop,
        )


def read(pictures: Tensor) -> Reading:
    """Read some pictures of one scene, at least 12.

    Args:
        pictures: uint8 or float in [0, 255], (F, 3, 160, 256); 16 a second.
    """
    large = pictures[::STEP].float() / 255
    small = F.avg_pool2d(large, REDUCED)
    scenery = read_scenery(small, large)
    place = scenery.place
    weather = place.weather if scenery.something_falls == (place.weather != "clear") else ""
    errors = errors_of(small, scenery.backdrops)
    speed = _speed(scenery)
    subject, prop, action, colour = _best(errors, speed)
    shown = _shown(errors, subject, prop, action, colour)
    others, is_seen = _other_subjects(small, scenery, shown, subject, prop, action, colour)
    if not is_seen:
        return Reading(place.setting, "", "", "", weather, place.light, "", False)
    return Reading(
        place.setting,
        SUBJECTS[subject],
        COLOURS[colour],
        ACTIONS[action],
        weather,
        place.light,
        PROPS[prop],
        others <= MOST_STRANGE,
    )


def _speed(scenery: Scenery) -> float:
    """Of the camera to the right, as a share of walking speed."""
    length = scenery.position.new_tensor(LARGE * 32 // 10)
    steps = (scenery.position.diff() + length // 2) % length - length // 2
    return float(steps.float().median()) / (STEP * SCROLL_SPEED * LARGE)


def _best(errors: Tensor, speed: float) -> tuple[int, int, int, int]:
    """Numbers of the subject, prop, action and colour whose drawings fit best, given how the camera moves."""
    totals = torch.zeros(())
    for part in errors.split(SEGMENT):
        in_order = sum(one.roll(-STEP * i, dims=3) for i, one in enumerate(part))
        totals = totals + in_order.amin(3)  # type: ignore[union-attr]
    walks = {"left": speed < -WALKING, "right": speed > WALKING}
    is_walking = any(walks.values())
    allowed = torch.tensor([walks.get(action, not is_walking) for action in ACTIONS])
    totals = totals.masked_fill(~allowed[:, None], torch.inf)
    subject, prop, action, colour = (int(i) for i in torch.unravel_index(totals.argmin(), totals.shape))
    return subject, prop, action, colour


def _shown(errors: Tensor, subject: int, prop: int, action: int, colour: int) -> list[int]:
    """The phase of the chosen drawing at each picture."""
    return errors[:, subject, prop, action, :, colour].argmin(1).tolist()


def _other_subjects(
    small: Tensor, scenery: Scenery, phases: list[int], subject: int, prop: int, action: int, colour: int
) -> tuple[float, bool]:
    """Share of the pictures with something else as large as a subject; whether the drawing explains them."""
    drawings, paint = all_drawings(), torch.tensor(PALETTE[COLOURS[colour]])
    strange, left, there = 0, 0.0, 0.0
    for picture, backdrop, phase in zip(small, scenery.backdrops, phases, strict=True):
        key = (subject, prop, action, phase)
        shape = (picture.shape[1], BOX.stop - BOX.start)
        cover, tint = drawings.cover[key].view(shape), drawings.tint[key].view(shape)
        drawn = backdrop.clone()
        drawn[..., BOX] = drawn[..., BOX] * (1 - cover) + drawings.plain[key].view(3, *shape)
        drawn[..., BOX] += tint * paint.view(3, 1, 1)
        error = picture - drawn
        left += float(error[..., BOX].square().sum())
        there += float((picture - backdrop)[..., BOX].square().sum())
        size = float((cover > 0.5).sum())
        strange += _largest_region(_inside(error.abs().sum(0) > OTHER)) > SECOND_SUBJECT * size
    return strange / len(phases), left < (1 - EXPLAINED) * there


def _inside(mask: Tensor) -> Tensor:
    """A mask (H, W) without the pixels at the rims of its regions."""
    return F.max_pool2d(1 - mask[None, None].float(), 3, stride=1, padding=1)[0, 0] == 0


def _largest_region(mask: Tensor) -> int:
    """Pixels of the largest connected region of a mask (H, W)."""
    labels = torch.arange(1, mask.numel() + 1).view(mask.shape).float() * mask
    while True:
        grown = F.max_pool2d(labels[None, None], 3, stride=1, padding=1)[0, 0] * mask
        if torch.equal(grown, labels):
            sizes = torch.bincount(labels.long().flatten())
            sizes[0] = 0
            return int(sizes.max())
        labels = grown
