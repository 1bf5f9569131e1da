"""H.264 segments as parts of one MPEG-TS stream, without encoding them again."""

import io
from collections.abc import Iterable, Sequence
from fractions import Fraction

import av
from av.packet import Packet

from longlive.chunks import MediaSegment
from longlive.errors import MediaError
from longlive.media.segments import Counters, continue_counters, last_counters

_OPTIONS = {"mpegts_flags": "resend_headers"}


class TransportStreamWriter:
    """Writes segments as MPEG-TS whose times and continuity counters go on from one call to the next."""

    def __init__(self) -> None:
        """Begin a stream."""
        self._counters: Counters = {}

    def write(self, segments: Sequence[MediaSegment]) -> bytes:
        """The segments of a chunk, at least one, at the times that their first frames say.

        Raises:
            MediaError: if they cannot be read.
        """
        if all(one.mime == "video/mp2t" for one in segments):
            data = b"".join(one.data for one in segments)
        else:
            data = _remux(segments)
        data = continue_counters(data, self._counters)
        self._counters = {**self._counters, **last_counters(data)}
        return data


def read_packets(segment: MediaSegment) -> Iterable[Packet]:
    """The H.264 packets of a segment, one for each picture, without B-frames: in the order of the pictures.

    Raises:
        MediaError: if it cannot be read.
    """
    try:
        with av.open(io.BytesIO(segment.data), "r") as source:
            return [packet for packet in source.demux(video=0) if packet.size]
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"a segment of chunk {segment.index} cannot be read: {error}") from error


def _remux(segments: Sequence[MediaSegment]) -> bytes:
    buffer = io.BytesIO()
    try:
        with av.open(buffer, "w", format="mpegts", options=_OPTIONS) as output:
            with av.open(io.BytesIO(segments[0].data), "r") as source:
                stream = output.add_stream_from_template(source.streams.video[0])
            for segment in segments:
                for number, packet in enumerate(read_packets(segment)):
                    packet.stream = stream
                    packet.time_base = Fraction(1, segment.fps)
                    packet.pts = packet.dts = segment.first_frame + number
                    output.mux(packet)
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"chunk {segments[0].index} cannot be written as MPEG-TS: {error}") from error
    return buffer.getvalue()
