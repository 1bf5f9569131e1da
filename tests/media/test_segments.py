"""Segments: every picture at its time and in its colours."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest

from longlive.errors import MediaError
from longlive.media.segments import SegmentEncoder, continue_counters, last_counters
from tests.support.pictures import decode, make_chunk, transport_counters


def test_a_segment_plays_by_itself_from_time_zero_with_all_its_pictures() -> None:
    segment = SegmentEncoder().encode(make_chunk(5))
    pictures = decode(segment.data)
    assert [picture.pts * picture.time_base for picture in pictures] == [Fraction(n, 16) for n in range(12)]
    assert pictures[0].key_frame and not any(picture.key_frame for picture in pictures[1:])
    assert (segment.index, segment.first_frame, segment.num_frames, segment.seconds) == (5, 60, 12, 0.75)


def test_the_mime_type_names_the_profile_and_level_that_the_segment_has() -> None:
    mime = SegmentEncoder(scale=4).encode(make_chunk(0)).mime
    assert mime.startswith('video/mp4; codecs="avc1.42')
    assert len(mime) == len('video/mp4; codecs="avc1.42c00d"')


def test_transport_stream_segments_carry_the_time_since_the_start_of_the_video() -> None:
    encoder = SegmentEncoder(container="ts")
    starts = [decode(encoder.encode(make_chunk(index)).data)[0] for index in range(3)]
    times = [float(picture.pts * picture.time_base) for picture in starts]
    assert np.diff(times) == pytest.approx([0.75, 0.75])
    assert encoder.encode(make_chunk(0)).mime == "video/mp2t"


@pytest.mark.parametrize("colour", [(200, 40, 30), (30, 160, 60), (40, 60, 200), (230, 200, 40)])
def test_pictures_keep_their_colours_and_are_enlarged(colour: tuple[int, int, int]) -> None:
    picture = decode(SegmentEncoder(scale=4).encode(make_chunk(0, colour)).data)[6].to_ndarray(format="rgb24")
    assert picture.shape == (256, 384, 3)
    assert np.abs(picture[:, 220:].astype(int).mean((0, 1)) - colour).max() < 6
    assert abs(int(picture[128, 90, 0]) - 120) < 6


def test_a_segment_of_one_picture_is_of_the_same_stream_and_lasts_a_sixteenth_of_a_second() -> None:
    """An MP4 file has its first segment's parameter sets alone; the next one follows after its duration."""
    one, many = (SegmentEncoder(scale=4).encode(make_chunk(0, num_frames=n)) for n in (1, 12))
    assert one.mime == many.mime
    sets = []
    for segment in (one, many):
        with av.open(io.BytesIO(segment.data)) as video:
            sets.append(bytes(video.streams.video[0].codec_context.extradata or b""))
            packets = [packet for packet in video.demux(video=0) if packet.size]
        assert sum(packet.duration * packet.time_base for packet in packets) == Fraction(len(packets), 16)
    assert sets[0] == sets[1]


def test_a_chunk_without_pictures_is_refused() -> None:
    with pytest.raises(MediaError, match="chunk 3 has no pictures"):
        SegmentEncoder().encode(make_chunk(3, num_frames=0))


def test_the_counters_of_every_pid_go_on_from_segment_to_segment() -> None:
    encoder = SegmentEncoder(container="ts", scale=4)
    segments = [encoder.encode(make_chunk(index)).data for index in range(5)]
    found = transport_counters(b"".join(segments))
    assert {0, 0x1000, 0x100} <= found.keys(), "tables and pictures"
    for pid, values in found.items():
        assert values == [number % 16 for number in range(len(values))], f"PID {pid}"
    assert all(len(decode(data)) == 12 for data in segments), "each plays by itself"


def test_the_counters_go_on_when_another_encoder_takes_over() -> None:
    first = SegmentEncoder(container="ts").encode(make_chunk(0)).data
    second = SegmentEncoder(container="ts", counters=last_counters(first)).encode(make_chunk(1)).data
    for values in transport_counters(first + second).values():
        assert values == [number % 16 for number in range(len(values))]


def test_a_packet_without_payload_does_not_count() -> None:
    def packet(control: int) -> bytes:
        return bytes((0x47, 1, 0, control << 4)).ljust(188, b"\xff")

    data = continue_counters(packet(1) + packet(2) + packet(3), {256: 14})
    assert [data[start + 3] for start in range(0, len(data), 188)] == [0x1F, 0x2F, 0x30]
    assert last_counters(data) == {256: 0}
