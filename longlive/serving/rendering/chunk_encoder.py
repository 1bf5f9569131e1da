"""Decoded pictures to the segments that are sent, with what is known of the chunk in the one that ends it."""

import dataclasses
import time
from collections.abc import Callable

from longlive.chunks import ChunkReport, FrameChunk, LatentChunk, MediaSegment
from longlive.errors import MediaError
from longlive.media.picture_statistics import measure_pictures
from longlive.media.segments import SegmentEncoder
from longlive.media.thumbnails import encode_thumbnail
from longlive.serving.executors.events import Failure, NoticeEvent


class ChunkEncoder:
    """Encodes one stream; an encoder that fails is replaced once a chunk.

    Attributes:
        encode_ms: that the last segment took, its thumbnail left out.
    """

    def __init__(
        self,
        make: Callable[[SegmentEncoder | None], SegmentEncoder],
        on_notice: Callable[[NoticeEvent], None],
    ) -> None:
        """Encode with what ``make`` gives.

        Args:
            make: an encoder that goes on after another one; None for the first.
            on_notice: is told when an encoder was replaced.
        """
        self._make, self._on_notice = make, on_notice
        self._encoder = make(None)
        self.encode_ms = 0.0

    def encode(self, chunk: FrameChunk, latents: LatentChunk) -> MediaSegment:
        """The segment of a chunk, or of a part of it; MediaError if it cannot be encoded.

        Args:
            chunk: the pictures.
            latents: that they were decoded from.
        """
        started = time.perf_counter()
        segment = self._encode(chunk)
        self.encode_ms = (time.perf_counter() - started) * 1000
        if not segment.ends_chunk:
            return segment
        thumbnail = encode_thumbnail(chunk.frames[len(chunk.frames) // 2])
        report = ChunkReport(latents.attended, measure_pictures(chunk.frames))
        return dataclasses.replace(segment, thumbnail=thumbnail, report=report)

    def _encode(self, chunk: FrameChunk) -> MediaSegment:
        try:
            return self._encoder.encode(chunk)
        except MediaError as error:
            self._encoder = self._make(self._encoder)
            segment = self._encoder.encode(chunk)
            failure = Failure("encoder", str(error), chunk.index)
            self._on_notice(NoticeEvent("encoder_restarted", failure=failure))
            return segment
