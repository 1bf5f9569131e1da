"""MP4 and QuickTime files, joined from segments without encoding again."""

import contextlib
import io
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from longlive.chunks import FrameChunk, MediaSegment
from longlive.config import EncoderName
from longlive.errors import MediaError, reason_of
from longlive.files import PartialFile, has_suffix
from longlive.media.segments import SegmentEncoder

SUFFIXES = (".mp4", ".m4v", ".mov")
# While it grows, a file consists of fragments, so that it can be played however the program ends.
_GROWING = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
# The index of a whole file stands before the pictures, so that a browser plays it while it loads.
_WHOLE = {"movflags": "faststart"}


class Mp4Writer:
    """Joins segments into one MP4 (or QuickTime) file without encoding them again.

    The file is written beside ``path`` and moved there when it is complete, so that nobody sees half of it.
    What lies beside ``path`` until then can be played, whatever ends the program.
    """

    def __init__(self, path: str | Path) -> None:
        """Prepare to write ``path``, QuickTime if it ends in .mov; nothing is opened before a segment."""
        self.path = Path(path)
        self._format = "mov" if has_suffix(path, ".mov") else "mp4"
        self._partial = PartialFile(path)
        self._whole = self._partial.part.with_name(f"{self._partial.part.name}.whole")
        self._file: BinaryIO | None = None
        self._output: OutputContainer | None = None
        self._stream: VideoStream | None = None

    def append(self, segment: MediaSegment) -> None:
        """Add a segment, at the time that its first frame says.

        Raises:
            MediaError: if it cannot be written (a full disk); nothing is left behind then.
        """
        try:
            with av.open(io.BytesIO(segment.data), "r") as source:
                self._copy(source, segment)
        except (OSError, av.FFmpegError) as error:
            self.discard()
            raise MediaError(f"the video {self.path.name} cannot be written: {reason_of(error)}") from error

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
            _move_index_ahead(self._partial.part, self._whole, self._format)
            self._whole.replace(self._partial.part)
            self._partial.commit()
        except (OSError, av.FFmpegError) as error:
            self.discard()
            raise MediaError(f"the video {self.path.name} cannot be written: {reason_of(error)}") from error
        self._file = self._output = self._stream = None
        return self.path

    def discard(self) -> None:
        """Remove what was written so far; nothing happens if there is nothing."""
        file, self._file, self._output, self._stream = self._file, None, None, None
        if file is not None:
            with contextlib.suppress(OSError):  # what could not be written is not wanted
                self._whole.unlink(missing_ok=True)
            self._partial.discard()
            with contextlib.suppress(OSError):
                file.close()

    def _copy(self, source: InputContainer, segment: MediaSegment) -> None:
        if self._output is None or self._stream is None:
            self._file = self._partial.part.open("wb", buffering=0)
            self._output = av.open(self._file, "w", format=self._format, options=_GROWING)
            self._stream = self._output.add_stream_from_template(source.streams.video[0])
        packets = (packet for packet in source.demux(video=0) if packet.size)
        for number, packet in enumerate(packets):
            packet.stream = self._stream
            packet.time_base = Fraction(1, segment.fps)
            packet.pts = packet.dts = segment.first_frame + number
            packet.duration = 1
            self._output.mux(packet)


def write_video(
    path: str | Path, chunks: Iterable[FrameChunk], scale: int = 1, *, encoder: EncoderName = "x264"
) -> Path:
    """Write chunks to an MP4 (QuickTime if ``path`` ends in .mov) as they come; return its path.

    Args:
        path: an older file is replaced once the new one is complete.
        chunks: at least one.
        scale: whole number by which pictures are enlarged.
        encoder: of H.264.

    Raises:
        MediaError: if there are no chunks or the file cannot be written; no partial file is left then.
    """
    segments, writer = SegmentEncoder(scale=scale, encoder=encoder), Mp4Writer(path)
    try:
        for chunk in chunks:
            writer.append(segments.encode(chunk))
        return writer.close()
    finally:
        writer.discard()


def _move_index_ahead(growing: Path, whole: Path, container: str) -> None:
    """Copy the pictures of a fragmented file to ``whole``, with one index, ahead of them."""
    with (
        av.open(str(growing), "r") as source,
        av.open(str(whole), "w", format=container, options=_WHOLE) as output,
    ):
        video = source.streams.video[0]
        stream = output.add_stream_from_template(video)
        for packet in source.demux(video):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
