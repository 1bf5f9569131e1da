"""Judges how well chunks fit their prompts, while a worker has nothing else to do."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from longlive.chunks import FrameChunk

logger = logging.getLogger(__name__)

Judge = Callable[[str, np.ndarray], float | None]
"""How much of what a prompt names is seen in pictures, uint8 (F, H, W, 3), at least 8: in [0, 1]; None if it
names nothing that can be judged."""

NUM_PICTURES = 24
"""That are judged together: of a chunk, and of those before it under the same prompt."""
MIN_PICTURES = 8


@dataclass(frozen=True)
class ChunkFit:
    """How well a chunk fits its prompt.

    Attributes:
        chunk: number of the chunk.
        prompt_index: number of the prompt.
        fit: in [0, 1].
    """

    chunk: int
    prompt_index: int
    fit: float


class IdleJudge:
    """Judges the newest chunk of one stream when it is told to; what is not judged in time is left out."""

    def __init__(self, judge: Judge | None) -> None:
        """Judge by ``judge``; without one, nothing happens."""
        self._judge = judge
        self._last: FrameChunk | None = None
        self._pictures = np.zeros((0, 1, 1, 3), np.uint8)
        self._found: list[ChunkFit] = []
        self._is_due = False

    def add(self, chunk: FrameChunk) -> None:
        """A chunk, or a part of it, was made."""
        if self._judge is None:
            return
        is_same = self._last is not None and self._last.prompt_index == chunk.prompt_index
        parts = [self._pictures, chunk.frames] if is_same else [chunk.frames]
        self._pictures, self._last = np.concatenate(parts)[-NUM_PICTURES:], chunk
        self._is_due = chunk.ends_chunk and len(self._pictures) >= MIN_PICTURES

    def judge_one(self) -> None:
        """Judge the newest chunk, if it is whole and was not judged yet."""
        chunk = self._last
        if self._judge is None or chunk is None or not self._is_due:
            return
        self._is_due = False
        try:
            fit = self._judge(chunk.prompt, self._pictures)
        except Exception:  # a video does not end because nobody can judge it
            logger.exception("chunk %d could not be judged; no more are", chunk.index)
            self._judge = None
            return
        if fit is not None:
            self._found.append(ChunkFit(chunk.index, chunk.prompt_index, round(fit, 3)))

    def take(self) -> tuple[ChunkFit, ...]:
        """What was found since the last call."""
        found, self._found = tuple(self._found), []
        return found
