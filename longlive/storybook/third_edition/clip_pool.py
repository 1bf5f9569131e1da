"""Drawn clips that a codec trains on, kept in memory or in a file, and renewed as the training goes."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from longlive.files import atomic_write
from longlive.storybook.third_edition.world.drawing import draw_timeline
from longlive.storybook.third_edition.world.motion import Story, build_timeline
from longlive.storybook.third_edition.world.scene import random_scene, random_turn

FRAMES, LONG_FRAMES = 17, 33
MAX_LEAD = 288
"""Pictures of a story, at most, that a clip leaves out at its beginning: a walk has led elsewhere by then."""


def random_story(num_frames: int, rng: np.random.Generator) -> Story:
    """One scene, or (six in ten) two of them with the change at any picture."""
    scene = random_scene(rng)
    if rng.random() < 0.4:
        return [(scene, num_frames)]
    first = int(rng.integers(1, num_frames))
    return [(scene, first), (random_turn(scene, rng), num_frames - first)]


def prolonged(story: Story, lead: int) -> Story:
    """The same story, with ``lead`` pictures more of its first scene before."""
    (scene, length), *others = story
    return [(scene, lead + length), *others]


class ClipPool:
    """Clips drawn ahead, uint8 (N, 3, T, H, W): the oldest make room for new ones."""

    def __init__(
        self,
        clips: int,
        drawn_at_once: int,
        size: tuple[int, int],
        device: torch.device,
        seed: int,
        *,
        folder: Path | None = None,
    ) -> None:
        """Hold up to ``clips`` clips of ``LONG_FRAMES`` pictures of ``size`` (height, width).

        Args:
            clips, drawn_at_once: in the pool, and in one renewal.
            device: where clips are drawn, and kept without ``folder``.
            seed: of the stories.
            folder: keeps the clips in ``clips.bin`` there, from which a resumed run goes on; None for the
                device's memory.
        """
        self._count, self._size, self._device = min(drawn_at_once, clips), size, device
        shape = (clips, 3, LONG_FRAMES, *size)
        self._filled, self._next, self._counts = 0, 0, None if folder is None else folder / "clips.json"
        if folder is None:
            self._clips = torch.empty(shape, dtype=torch.uint8, device=device)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            self._clips = _mapped(folder / "clips.bin", shape)
            self._read_counts()
        self._rng = np.random.default_rng([seed, 31, self._filled, self._next])

    @property
    def filled(self) -> int:
        """How many clips there are."""
        return self._filled

    def renew(self) -> None:
        """Draw new clips in place of the oldest."""
        lead = int(self._rng.integers(MAX_LEAD + 1))
        stories = [prolonged(random_story(LONG_FRAMES, self._rng), lead) for _ in range(self._count)]
        chosen = torch.arange(lead, lead + LONG_FRAMES, device=self._device).expand(self._count, -1)
        new = draw_timeline(build_timeline(stories, self._device), self._size, chosen)
        rows = (torch.arange(self._count) + self._next) % len(self._clips)
        self._clips[rows.to(self._clips.device)] = (
            (new * 255).round_().to(torch.uint8).transpose(1, 2).to(self._clips.device)
        )
        self._next = (self._next + self._count) % len(self._clips)
        self._filled = min(len(self._clips), self._filled + self._count)
        if self._counts is not None:
            text = json.dumps({"filled": self._filled, "next": self._next, "shape": list(self._clips.shape)})
            with atomic_write(self._counts) as part:
                part.write_text(text)

    def batch(self, clips: int, num_frames: int) -> Tensor:
        """Parts of random clips, float (B, 3, num_frames, H, W) in [-1, 1], on the device."""
        while self._filled < min(len(self._clips), 2 * clips):
            self.renew()
        rows = torch.from_numpy(self._rng.integers(self._filled, size=clips)).to(self._clips.device)
        start = int(self._rng.integers(LONG_FRAMES - num_frames + 1))
        return self._pictures(self._clips[rows, :, start : start + num_frames])

    def each_once(self, clips: int) -> Iterator[Tensor]:
        """All clips that there are, ``clips`` at a time: float (B, 3, LONG_FRAMES, H, W) in [-1, 1]."""
        for part in self._clips[: self._filled].split(clips):
            yield self._pictures(part)

    def _pictures(self, clips: Tensor) -> Tensor:
        return clips.to(self._device).float() / 127.5 - 1

    def _read_counts(self) -> None:
        """Go on with the clips of an earlier run, if they have the same shape."""
        if self._counts is not None and self._counts.exists():
            found = json.loads(self._counts.read_text())
            if found["shape"] == list(self._clips.shape):
                self._filled, self._next = int(found["filled"]), int(found["next"])


def _mapped(path: Path, shape: tuple[int, ...]) -> Tensor:
    """A tensor that lives in a file, which is made or enlarged as needed; it takes room as it is filled."""
    size = int(np.prod(shape))
    return torch.from_file(str(path), shared=True, size=size, dtype=torch.uint8).view(shape)
