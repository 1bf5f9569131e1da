"""Segments: every picture at its time and in its colours."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest

from longlive.errors import MediaError
from longlive.media.segments import SegmentEncoder
from tests.support.pictures import decode, make_chunk


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
