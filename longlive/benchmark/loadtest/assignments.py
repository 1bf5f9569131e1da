"""Who asks for what in a load test, and whose story the pictures show that came back.

Each viewer has a setting and two colours that nobody else has together; those who share a setting differ in
shape, too. The two colours lie side by side on the colour wheel, so that a subject that fades from one to
the other hardly ever shows a stranger's on its way.
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
MOST_ROLES = len(SETTINGS) * len(COLOUR_PAIRS)
FEWEST_PICTURES = 8


@dataclass(frozen=True)
class ViewerProfile:
    """What one viewer asks for: one subject in one setting, by turns in one of two colours."""

    number: int
    setting: str
    shape: str
    colours: tuple[str, str]

    def colour(self, turn: int) -> str:
        """The colour of the prompt ``turn``, counted from 0."""
        return self.colours[turn % 2]

    def prompt(self, turn: int) -> str:
        """The viewer's prompt ``turn``: the other colour, and another action than the one before."""
        action = ACTIONS[(self.number + turn) % len(ACTIONS)]
        return plain_caption(Scene(self.setting, self.shape, self.colour(turn), action))

    @property
    def num_prompts(self) -> int:
        """After how many turns the prompts come again."""
        return 2 * len(ACTIONS)

    def owns(self, setting: str, colour: str) -> bool:
        """Whether a picture of this setting and colour can be this viewer's."""
        return setting == self.setting and colour in self.colours

    def __str__(self) -> str:
        return f"{self.setting}, {' and '.join(self.colours)}"


def profile(number: int) -> ViewerProfile:
    """The role of viewer ``number``, counted from 0; ``MOST_ROLES`` differ."""
    setting = number % len(SETTINGS)
    colours = COLOUR_PAIRS[(setting + number // len(SETTINGS)) % len(COLOUR_PAIRS)]
    return ViewerProfile(number, SETTINGS[setting], SHAPES[number % len(SHAPES)], colours)


@dataclass(frozen=True)
class Look:
    """What some pictures show: where, what, and the subject's colour in each."""

    setting: str
    shape: str
    colours: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """Of the pictures read, how many show another viewer's story, and how many nobody's."""

    read: int = 0
    wrong: int = 0
    unlike: int = 0

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(self.read + other.read, self.wrong + other.wrong, self.unlike + other.unlike)


def judge(look: Look, own: ViewerProfile, others: Sequence[ViewerProfile]) -> Verdict:
    """Whose story a viewer was shown who asked for ``own`` while others asked for theirs.

    A picture is another's if its setting and its colour are; where both have one setting, its shape must be,
    too: the model may take a colour amiss while one fades into the other.
    """
    strange = [colour for colour in look.colours if not own.owns(look.setting, colour)]
    alike = [other for other in others if other.setting != own.setting or other.shape == look.shape]
    wrong = sum(any(other.owns(look.setting, colour) for other in alike) for colour in strange)
    return Verdict(len(look.colours), wrong, len(strange) - wrong)


def look_at(data: bytes) -> Look | None:
    """What a segment shows; None if it is no picture book's, or too short to be read."""
    pictures = decode(data)
    if pictures is None or len(pictures) < FEWEST_PICTURES:
        return None
    return look(pictures)


def look(pictures: Tensor) -> Look:
    """What some pictures show, at least 8, uint8 (F, 3, 80, 128)."""
    reading = read(pictures)
    return Look(reading.setting, reading.shape, tuple(read_colours(pictures)))


def decode(data: bytes) -> Tensor | None:
    """A segment's pictures at the picture book's size, uint8 (F, 3, 80, 128); None if of another shape."""
    with av.open(io.BytesIO(data), "r") as video:
        stream = video.streams.video[0]
        if stream.height % HEIGHT or stream.width * HEIGHT != stream.height * WIDTH:
            return None
        pictures = [
            picture.to_ndarray(format="rgb24", width=WIDTH, height=HEIGHT, interpolation="AREA")
            for picture in video.decode(stream)
        ]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
