"""A run whose chunks and playhead a test sets, for those who follow what has settled."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from longlive.audience.audience import Audience
from longlive.chunks import FrameChunk, MediaSegment
from longlive.media.segments import SegmentEncoder
from longlive.serving.runs.run import Run
from longlive.serving.scheduler import RunStatus

FPS, FRAMES = 16, 12


@dataclass
class _StoredChunk:
    digest: str
    start_s: float
    segments: list[MediaSegment]


@dataclass
class SettledRun:
    """What the followers of an audience read of a ``Run``; chunks of 0.75 s, one grey picture each.

    Attributes:
        position: the second on its viewer's screen.
        is_lost: its files cannot be read.
    """

    status: RunStatus = RunStatus.RUNNING
    position: float = 0.0
    is_lost: bool = False
    chunks: list[_StoredChunk] = field(default_factory=list)
    encoder: SegmentEncoder = field(default_factory=lambda: SegmentEncoder(scale=1))

    def make(self, count: int = 1, grey: int = 40) -> None:
        """Store so many chunks more."""
        for index in range(len(self.chunks), len(self.chunks) + count):
            pictures = np.full((FRAMES, 64, 96, 3), (grey + index) % 256, np.uint8)
            chunk = FrameChunk(index, 0, "a ball", FRAMES * index, pictures, FPS)
            digest, start_s = f"{grey}-{index}", index * FRAMES / FPS
            self.chunks.append(_StoredChunk(digest, start_s, [self.encoder.encode(chunk)]))

    def audience(self) -> Audience:
        """An audience of it."""
        return Audience(self.as_run(), id="room")

    def as_run(self) -> Run:
        """Itself, in the eyes of mypy."""
        return cast(Run, self)

    @property
    def end_s(self) -> float:
        return len(self.chunks) * FRAMES / FPS

    @property
    def presence(self) -> Any:
        clock = SimpleNamespace(position=lambda end_s: min(end_s, self.position))
        return SimpleNamespace(clock=clock)

    @property
    def store(self) -> Any:
        return SimpleNamespace(chunks=self.chunks, num_chunks=len(self.chunks), chunk=self._chunk)

    def _chunk(self, index: int) -> list[MediaSegment]:
        if self.is_lost:
            raise FileNotFoundError("it was forgotten")
        return self.chunks[index].segments
