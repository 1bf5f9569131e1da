"""Segments as a line of ``story.jsonl`` describes them; their data lies in ``segments.bin``."""

import base64
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from longlive.chunks import AttendedChunks, ChunkReport, MediaSegment, PictureStatistics

Fields = dict[str, Any]
"""JSON values: the segment's attributes, ``size`` in place of its data, the thumbnail as base64."""


@dataclass(frozen=True)
class ChunkSummary:
    """A stored chunk without its pictures.

    Attributes:
        index, prompt_index, prompt, first_frame, num_frames, fps: as in a segment, of the whole chunk.
        thumbnail, report: as in the segment that ends it; empty or None where an older version has stored it.
    """

    index: int
    prompt_index: int
    prompt: str
    first_frame: int
    num_frames: int
    fps: int
    thumbnail: bytes
    report: ChunkReport | None


def segment_fields(segment: MediaSegment) -> Fields:
    """What is written of a segment."""
    apart = ("data", "thumbnail", "report")
    fields = {name: value for name, value in vars(segment).items() if name not in apart}
    thumbnail = {"thumbnail": base64.b64encode(segment.thumbnail).decode()} if segment.thumbnail else {}
    report = {"report": dataclasses.asdict(segment.report)} if segment.report else {}
    return fields | thumbnail | report | {"size": len(segment.data)}


def read_segment(fields: Fields, data: bytes) -> MediaSegment:
    """The segment of which ``fields`` were written."""
    attributes = {name: value for name, value in fields.items() if name != "size"}
    decoded = {"thumbnail": _thumbnail(fields), "report": read_report(fields)}
    return MediaSegment(**attributes | decoded, data=data)


def read_report(fields: Fields) -> ChunkReport | None:
    """The report on the chunk that a segment ends, if one was written."""
    report = fields.get("report")
    if report is None:
        return None
    attended, statistics = report["attended"], report["statistics"]
    return ChunkReport(
        **report
        | {
            "attended": attended
            and AttendedChunks(**attended | {n: tuple(attended[n]) for n in ("sink", "window")}),
            "statistics": statistics and PictureStatistics(**statistics),
        }
    )


def summarize(parts: Sequence[Fields]) -> ChunkSummary:
    """The chunk that consists of these segments, at least one."""
    first, last = parts[0], parts[-1]
    return ChunkSummary(
        index=last["index"],
        prompt_index=last["prompt_index"],
        prompt=last["prompt"],
        first_frame=first["first_frame"],
        num_frames=sum(part["num_frames"] for part in parts),
        fps=last["fps"],
        thumbnail=_thumbnail(last),
        report=read_report(last),
    )


def _thumbnail(fields: Fields) -> bytes:
    return base64.b64decode(fields.get("thumbnail", ""))
