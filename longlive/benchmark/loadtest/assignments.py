"""Which prompts each viewer of a load test sends, and a check of whose video its pictures show.

Each viewer has a setting and two colours that nobody else has together; viewers who share a setting differ
in shape, too. The two colours are neighbours on the colour wheel, so that a subject that fades from one to
the other hardly ever shows another viewer's colour on its way.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import av
import numpy as np
import torch
from torch import Tensor

from longlive.storybook.world.captions import plain_caption
from longlive.storybook.world.drawing import ACTIONS, HEIGHT, SETTINGS, SHAPES, WIDTH, Scene
from longlive.storybook.world.oracle import read, read_colours

COLOUR_PAIRS = (("red", "orange"), ("yellow", "green"), ("blue", "purple"))
MAX_VIEWERS = len(SETTINGS) * len(COLOUR_PAIRS)
MIN_PICTURES = 8  # that the oracle needs to read a shape


@dataclass(frozen=True)
class ViewerProfile:
    """What one viewer asks for: one subject in one setting, in its two colours by turns."""

    number: int
    setting: str
    shape: str
    colours: tuple[str, str]

    def colour(self, turn: int) -> str:
        """The colour of prompt ``turn``, counted from 0."""
        return self.colours[turn % 2]

    def prompt(self, turn: int) -> str:
        """Prompt ``turn``: the other colour, and another action than the one before."""
        action = ACTIONS[(self.number + turn) % len(ACTIONS)]
        return plain_caption(Scene(self.setting, self.shape, self.colour(turn), action))

    @property
    def num_prompts(self) -> int:
        """After how many turns the prompts repeat."""
        return 2 * len(ACTIONS)

    def owns(self, setting: str, colour: str) -> bool:
        """Whether a picture of this setting and colour can be this viewer's."""
        return setting == self.setting and colour in self.colours

    def __str__(self) -> str:
        return f"{self.setting}, {' and '.join(self.colours)}"


def profile(number: int) -> ViewerProfile:
    """The profile of viewer ``number``, counted from 0; ``MAX_VIEWERS`` differ."""
    setting = number % len(SETTINGS)
    colours = COLOUR_PAIRS[(setting + number // len(SETTINGS)) % len(COLOUR_PAIRS)]
    return ViewerProfile(number, SETTINGS[setting], SHAPES[number % len(SHAPES)], colours)


@dataclass(frozen=True)
class PictureContent:
    """What some pictures show: setting and shape, and the subject's colour in each."""

    setting: str
    shape: str
    colours: tuple[str, ...]


@dataclass(frozen=True)
class PictureCounts:
    """How many pictures were read; of those, how many show another viewer's video, and how many nobody's."""

    read: int = 0
    wrong: int = 0
    unrecognized: int = 0

    def __add__(self, other: "PictureCounts") -> "PictureCounts":
        return PictureCounts(
            self.read + other.read, self.wrong + other.wrong, self.unrecognized + other.unrecognized
        )


def count_pictures(
    content: PictureContent, own: ViewerProfile, others: Sequence[ViewerProfile]
) -> PictureCounts:
    """Count whose video the pictures of viewer ``own`` show.

    A picture is another viewer's if it has that viewer's setting and one of its colours. If both viewers
    have the same setting, the shape must be the other's, too: the model may miss a colour while one fades
    into the other.
    """
    foreign = [colour for colour in content.colours if not own.owns(content.setting, colour)]
    possible = [other for other in others if other.setting != own.setting or other.shape == content.shape]
    wrong = sum(any(other.owns(content.setting, colour) for other in possible) for colour in foreign)
    return PictureCounts(len(content.colours), wrong, len(foreign) - wrong)


def read_segment(data: bytes) -> PictureContent | None:
    """What a segment shows; None if it is not of the storybook model, or too short to be read."""
    pictures = decode(data)
    if pictures is None or len(pictures) < MIN_PICTURES:
        return None
    return read_pictures(pictures)


def read_pictures(pictures: Tensor) -> PictureContent:
    """What at least ``MIN_PICTURES`` pictures show, uint8 (F, 3, 80, 128)."""
    reading = read(pictures)
    return PictureContent(reading.setting, reading.shape, tuple(read_colours(pictures)))


def decode(data: bytes) -> Tensor | None:
    """A segment's pictures at the storybook's size, uint8 (F, 3, 80, 128); None of another aspect ratio."""
    with av.open(io.BytesIO(data), "r") as video:
        stream = video.streams.video[0]
        if stream.height % HEIGHT or stream.width * HEIGHT != stream.height * WIDTH:
            return None
        pictures = [
            picture.to_ndarray(format="rgb24", width=WIDTH, height=HEIGHT, interpolation="AREA")
            for picture in video.decode(stream)
        ]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
