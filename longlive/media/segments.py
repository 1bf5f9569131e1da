"""Pictures to H.264 segments, which a browser can play one by one.

Everything happens in this process through PyAV; no ffmpeg program is needed.
"""

import io
from collections.abc import Mapping
from fractions import Fraction
from typing import Literal

import av
import numpy as np
from av.container import OutputContainer
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
from longlive.config import EncoderName
from longlive.errors import MediaError
from longlive.media.h264 import CODECS, SETTINGS, encoding_threads

Container = Literal["mp4", "ts"]

# A segment of MP4 has its own header and one fragment; a segment of MPEG-TS repeats its tables.
_MUXERS: dict[Container, tuple[str, dict[str, str]]] = {
    "mp4": ("mp4", {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
    "ts": ("mpegts", {"mpegts_flags": "resend_headers"}),
}

Counters = Mapping[int, int]
"""For each PID of a transport stream, the continuity counter (0 to 15) of its last packet."""
_PACKET_BYTES = 188


class SegmentEncoder:
    """One stream's pictures as H.264 segments, each playable by itself from its first picture on.

    Attributes:
        counters: at the end of the last MPEG-TS segment; the next one goes on from them.
    """

    def __init__(
        self,
        *,
        scale: int = 1,
        container: Container = "mp4",
        encoder: EncoderName = "x264",
        counters: Counters | None = None,
    ) -> None:
        """Choose the format of the segments.

        Args:
            scale: whole number by which pictures are enlarged; so small ones keep their colours.
            container: ``mp4`` starts each segment at time 0 (MediaSource places it); ``ts`` writes the time
                since the start of the video (HLS).
            encoder: of H.264; see ``choose_encoder``.
            counters: at the end of the MPEG-TS segment before; see ``last_counters``.
        """
        self.scale = scale
        self.counters: Counters = dict(counters or {})
        self.encoder = encoder
        self.container: Container = container
        self._pictures = PictureConverter(scale)

    def encode(self, chunk: FrameChunk) -> MediaSegment:
        """The pictures of a chunk as one segment.

        Raises:
            MediaError: if there is no picture, or the encoder fails.
        """
        if not len(chunk.frames):
            raise MediaError(f"chunk {chunk.index} has no pictures; a segment needs at least 1")
        buffer = io.BytesIO()
        try:
            codec = self._write(buffer, chunk)
        except (av.FFmpegError, ValueError) as error:
            raise MediaError(f"chunk {chunk.index} could not be encoded: {error}") from error
        data = buffer.getvalue()
        if self.container == "ts":
            data = continue_counters(data, self.counters)
            self.counters = {**self.counters, **last_counters(data)}
        return MediaSegment(
            index=chunk.index,
            prompt_index=chunk.prompt_index,
            prompt=chunk.prompt,
            first_frame=chunk.first_frame,
            num_frames=len(chunk.frames),
            fps=chunk.fps,
            data=data,
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
                frame = self._pictures.convert(picture)
                frame.pts, frame.time_base = start + number, Fraction(1, chunk.fps)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
            extradata = stream.codec_context.extradata or b""
        # Profile, constraints and level follow the header of the sequence parameter set.
        sps = extradata.find(b"\x67") + 1
        return f"avc1.{extradata[sps : sps + 3].hex()}"

    def _open_stream(self, output: OutputContainer, chunk: FrameChunk) -> VideoStream:
        # One key frame, the first. A group of 1 would be another kind of stream, which Mp4Writer cannot join.
        options = SETTINGS[self.encoder] | {"g": str(1 + len(chunk.frames)), "sc_threshold": "0"}
        stream = output.add_stream(CODECS[self.encoder], rate=chunk.fps, options=options)
        assert isinstance(stream, VideoStream)
        self._pictures.describe(stream.codec_context, chunk)
        stream.codec_context.thread_count = encoding_threads(self.encoder)
        return stream


class PictureConverter:
    """Pictures as a video encoder takes them: enlarged, in 4:2:0 and the colours of BT.709."""

    def __init__(self, scale: int) -> None:
        """Enlarge pictures by the whole number ``scale``."""
        self.scale = scale
        self._reformatter = VideoReformatter()

    def describe(self, context: VideoCodecContext, chunk: FrameChunk) -> None:
        """Tell an encoder that is not open yet what the pictures of ``chunk`` will be like."""
        context.height, context.width = (side * self.scale for side in chunk.frames.shape[1:3])
        context.pix_fmt = "yuv420p"
        context.colorspace, context.color_range = Colorspace.ITU709.value, ColorRange.MPEG.value
        context.color_primaries, context.color_trc = ColorPrimaries.BT709.value, ColorTrc.BT709.value

    def convert(self, picture: np.ndarray) -> av.VideoFrame:
        """A frame of an RGB picture, uint8 (H, W, 3)."""
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


def continue_counters(data: bytes, counters: Counters) -> bytes:
    """A transport stream whose continuity counters go on from ``counters``, for each PID.

    The counter of a PID counts its packets that carry a payload, modulo 16 (ISO/IEC 13818-1, 2.4.3.3). A
    muxer that is opened for each segment begins at 0, which a strict reader takes for lost packets.
    """
    stream, last = bytearray(data), dict(counters)
    for start in range(0, len(stream), _PACKET_BYTES):
        pid = _pid(stream, start)
        has_payload = bool(stream[start + 3] & 0x10)
        last[pid] = (last.get(pid, 15) + has_payload) % 16
        stream[start + 3] = (stream[start + 3] & 0xF0) | last[pid]
    return bytes(stream)


def last_counters(data: bytes) -> dict[int, int]:
    """The continuity counter of the last packet of each PID of a transport stream."""
    starts = range(0, len(data) - _PACKET_BYTES + 1, _PACKET_BYTES)
    return {_pid(data, start): data[start + 3] & 0x0F for start in starts}


def _pid(data: bytes | bytearray, start: int) -> int:
    return (data[start + 1] & 0x1F) << 8 | data[start + 2]
