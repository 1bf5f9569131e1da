"""Where the chunks of a stored run lie, and what is known of each."""

import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from longlive.chunks import ChunkReport
from longlive.serving.runs.store.stored_segments import read_report


@dataclass(frozen=True)
class StoredChunk:
    """Where a chunk lies, and what it is.

    Attributes:
        digest: of its latents.
        latents: offset and size in bytes, dtype and shape.
        segments: the fields of each of its segments, and their sizes in bytes.
        offset: of its first segment, in bytes.
    """

    digest: str
    latents: tuple[int, int, str, list[int]]
    segments: list[dict[str, Any]]
    offset: int

    @property
    def start_s(self) -> float:
        """When it starts, in seconds of the video."""
        first = self.segments[0]
        return float(first["first_frame"] / first["fps"])

    @property
    def end_s(self) -> float:
        """When it ends, in seconds of the video."""
        return _end_s(self.segments[-1])


class ChunkIndex(list[StoredChunk]):
    """The chunks of a run, in order."""

    @property
    def num_frames(self) -> int:
        """Pictures of all chunks."""
        last = self[-1].segments[-1] if self else None
        return last["first_frame"] + last["num_frames"] if last else 0

    def first_from(self, second: float) -> int:
        """The first chunk that starts at this second of the video or later; else the next one to be made."""
        return bisect.bisect_left([chunk.start_s for chunk in self], second)

    def first_after(self, seconds: float, *, at_most: int) -> int:
        """The first of the chunks that end after a second of the video, of these the last ``at_most``."""
        first = bisect.bisect_right([chunk.end_s for chunk in self], seconds)
        return max(first, len(self) - at_most)

    def first_of_prompt(self, prompt_index: int) -> int:
        """The first chunk that this prompt or a later one has made."""
        return bisect.bisect_left(self, prompt_index, key=lambda chunk: chunk.segments[-1]["prompt_index"])

    def report_of(self, chunk: int) -> ChunkReport | None:
        """What is known of a chunk; None if it is not stored, or nothing is known."""
        return read_report(self[chunk].segments[-1]) if 0 <= chunk < len(self) else None

    def is_made_by(self, chunk: int, prompt_index: int) -> bool:
        """Whether a chunk is stored that this prompt has made, with a report on it."""
        last = self[chunk].segments[-1] if 0 <= chunk < len(self) else {}
        return bool(last.get("report")) and last["prompt_index"] == prompt_index

    def add_fits(self, fits: Mapping[int, float]) -> None:
        """Note how well chunks fit their prompts, by their numbers; all are stored, with reports."""
        for chunk, fit in fits.items():
            self[chunk].segments[-1]["report"]["fit"] = fit

    def prompt_index_before(self, chunk: int) -> int:
        """Number of the prompt that made the chunk before ``chunk``; -1 if there is none."""
        before = self[:chunk][-1:]
        return int(before[0].segments[-1]["prompt_index"]) if before else -1

    def spans(self) -> Iterator[tuple[int, str, float, float]]:
        """Number and text of the prompt of each segment, its start and end in seconds."""
        for part in (part for chunk in self for part in chunk.segments):
            yield part["prompt_index"], part["prompt"], part["first_frame"] / part["fps"], _end_s(part)


def _end_s(part: dict[str, Any]) -> float:
    """When a segment ends, in seconds of the video."""
    return float((part["first_frame"] + part["num_frames"]) / part["fps"])
