"""MP4 files, joined from segments without encoding again."""

import contextlib
import io
import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from longlive.chunks import FrameChunk, MediaSegment
from longlive.errors import MediaError
from longlive.media.segments import SegmentEncoder


class TakeFile:
    """The MP4 to keep of a take: its segments joined without encoding them again.

    It is written beside ``path`` and moved there when whole, so that no half file is ever seen.
    """

    def __init__(self, path: str | Path) -> None:
        """Prepare to write ``path``; nothing is opened before the first segment."""
        self.path = Path(path)
        self._part = self.path.with_name(f"{self.path.name}.part")
        self._file: BinaryIO | None = None
        self._output: OutputContainer | None = None
        self._stream: VideoStream | None = None

    def append(self, segment: MediaSegment) -> None:
        """Add a segment at its place in time.

        Raises:
            MediaError: if it cannot be written (a full disk); nothing is left behind then.
        """
        try:
            with av.open(io.BytesIO(segment.data), "r") as source:
                self._copy(source, segment)
        except (OSError, av.FFmpegError) as error:
            self.discard()
            raise MediaError(f"the video {self.path.name} cannot be written: {error}") from error

    def close(self) -> Path:
        """Finish the file and return its path.

        Raises:
            MediaError: if nothing was appended, or it cannot be written; nothing is left behind then.
        """
        if self._output is None or self._file is None:
            raise MediaError(f"the video {self.path.name} has no pictures to write")
        try:
            self._output.close()
            self._file.close()
            os.replace(self._part, self.path)
        except (OSError, av.FFmpegError) as error:
            self.discard()
            raise MediaError(f"the video {self.path.name} cannot be written: {error}") from error
        self._file = self._output = self._stream = None
        return self.path

    def discard(self) -> None:
        """Remove what was written so far; nothing happens if there is nothing."""
        file, self._file, self._output, self._stream = self._file, None, None, None
        if file is not None:
            self._part.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # what did not fit is not wanted
                file.close()

    def _copy(self, source: InputContainer, segment: MediaSegment) -> None:
        if self._output is None or self._stream is None:
            self._file = self._part.open("wb")
            self._output = av.open(self._file, "w", format="mp4")
            self._stream = self._output.add_stream_from_template(source.streams.video[0])
        packets = (packet for packet in source.demux(video=0) if packet.size)
        for number, packet in enumerate(packets):
            packet.stream = self._stream
            packet.time_base = Fraction(1, segment.fps)
            packet.pts = packet.dts = segment.first_frame + number
            packet.duration = 1
            self._output.mux(packet)


def write_video(
    path: str | Path, chunks: Iterable[FrameChunk], scale: int = 1, *, encoder: str = "x264"
) -> Path:
    """Write chunks to an MP4 as they come, pictures enlarged ``scale`` times; return its path.

    ``encoder`` is as ``choose_encoder`` gives it.

    Raises:
        MediaError: if there are no chunks or the file cannot be written; no half file is left then.
    """
    segments, take = SegmentEncoder(scale=scale, encoder=encoder), TakeFile(path)
    try:
        for chunk in chunks:
            take.append(segments.encode(chunk))
        return take.close()
    finally:
        take.discard()
