"""Segments as a line of ``story.jsonl`` describes them; their data lies in ``segments.bin``."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from longlive.chunks import MediaSegment

Fields = dict[str, Any]
"""JSON values: the segment's attributes, ``size`` in place of its data, the thumbnail as base64."""


@dataclass(frozen=True)
class ChunkSummary:
    """A stored chunk without its pictures.

    Attributes:
        index, prompt_index, prompt, first_frame, num_frames, fps: as in a segment, of the whole chunk.
        thumbnail: as in the segment that ends it; empty where an older version has stored it.
    """

    index: int
    prompt_index: int
    prompt: str
    first_frame: int
    num_frames: int
    fps: int
    thumbnail: bytes


def segment_fields(segment: MediaSegment) -> Fields:
    """What is written of a segment."""
    fields = {name: value for name, value in vars(segment).items() if name not in ("data", "thumbnail")}
    thumbnail = {"thumbnail": base64.b64encode(segment.thumbnail).decode()} if segment.thumbnail else {}
    return fields | thumbnail | {"size": len(segment.data)}


def read_segment(fields: Fields, data: bytes) -> MediaSegment:
    """The segment of which ``fields`` were written."""
    attributes = {name: value for name, value in fields.items() if name != "size"}
    return MediaSegment(**attributes | {"thumbnail": _thumbnail(fields)}, data=data)


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
    )


def _thumbnail(fields: Fields) -> bytes:
    return base64.b64decode(fields.get("thumbnail", ""))
