"""Pictures to H.264: segments that a browser can play one by one, and the MP4 to keep.

Everything happens in this process through PyAV; no ffmpeg program is needed.
"""

import contextlib
import io
import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Literal

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    Interpolation,
    VideoReformatter,
)
from av.video.stream import VideoStream

from longlive.chunks import FrameChunk, MediaSegment
from longlive.encoders import CODECS, SETTINGS, encoding_threads
from longlive.errors import MediaError

Container = Literal["mp4", "ts"]

# A segment of MP4 has its own header and one fragment; a segment of MPEG-TS repeats its tables.
_MUXERS: dict[Container, tuple[str, dict[str, str]]] = {
    "mp4": ("mp4", {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
    "ts": ("mpegts", {"mpegts_flags": "resend_headers"}),
}


class SegmentEncoder:
    """One stream's pictures as H.264 segments, each playable by itself from its first picture on."""

    def __init__(self, *, scale: int = 1, container: Container = "mp4", encoder: str = "x264") -> None:
        """Choose the form of the segments.

        Args:
            scale: whole number by which pictures are enlarged; small ones keep their colours in 4:2:0 so.
            container: ``mp4`` starts each segment at time 0 (MediaSource places it); ``ts`` writes the time
                since the start of the take (HLS).
            encoder: as ``choose_encoder`` gives it.
        """
        self.scale = scale
        self.encoder = encoder
        self.container: Container = container
        self._reformatter = VideoReformatter()

    def encode(self, chunk: FrameChunk) -> MediaSegment:
        """The pictures of a chunk as one segment.

        Raises:
            MediaError: if there is no picture, or the encoder refuses.
        """
        if not len(chunk.frames):
            raise MediaError(f"chunk {chunk.index} has no pictures; a segment needs at least 1")
        buffer = io.BytesIO()
        try:
            codec = self._write(buffer, chunk)
        except (av.FFmpegError, ValueError) as error:
            raise MediaError(f"chunk {chunk.index} could not be encoded: {error}") from error
        return MediaSegment(
            index=chunk.index,
            prompt_index=chunk.prompt_index,
            prompt=chunk.prompt,
            first_frame=chunk.first_frame,
            num_frames=len(chunk.frames),
            fps=chunk.fps,
            data=buffer.getvalue(),
            mime=f'video/mp4; codecs="{codec}"' if self.container == "mp4" else "video/mp2t",
            ends_chunk=chunk.ends_chunk,
        )

    def _write(self, buffer: io.BytesIO, chunk: FrameChunk) -> str:
        """Encode into ``buffer``; return the codec's name as MIME types spell it, such as ``avc1.42c00d``."""
        muxer, options = _MUXERS[self.container]
        start = chunk.first_frame if self.container == "ts" else 0
        with av.open(buffer, "w", format=muxer, options=options) as output:
            stream = self._open_stream(output, chunk)
            for number, picture in enumerate(chunk.frames):
                frame = self._convert(picture)
                frame.pts, frame.time_base = start + number, Fraction(1, chunk.fps)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
            extradata = stream.codec_context.extradata or b""
        sps = (
            extradata.find(b"\x67") + 1
        )  # profile, constraints and level follow the header of the parameter set
        return f"avc1.{extradata[sps : sps + 3].hex()}"

    def _open_stream(self, output: OutputContainer, chunk: FrameChunk) -> VideoStream:
        # One key frame, the first. A group of 1 would be another kind of stream, which a take cannot join.
        options = SETTINGS[self.encoder] | {"g": str(1 + len(chunk.frames)), "sc_threshold": "0"}
        stream = output.add_stream(CODECS[self.encoder], rate=chunk.fps, options=options)
        assert isinstance(stream, VideoStream)
        context: VideoCodecContext = stream.codec_context
        context.height, context.width = (side * self.scale for side in chunk.frames.shape[1:3])
        context.pix_fmt = "yuv420p"
        context.thread_count = encoding_threads(self.encoder)
        context.colorspace, context.color_range = Colorspace.ITU709.value, ColorRange.MPEG.value
        context.color_primaries, context.color_trc = ColorPrimaries.BT709.value, ColorTrc.BT709.value
        return stream

    def _convert(self, picture: np.ndarray) -> av.VideoFrame:
        height, width = picture.shape[:2]
        return self._reformatter.reformat(
            av.VideoFrame.from_ndarray(picture, format="rgb24"),
            width=width * self.scale,
            height=height * self.scale,
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC,
        )


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
