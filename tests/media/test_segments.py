"""Segments and takes: every picture in its place and colour; a full disk leaves nothing behind."""

import io
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import av
import numpy as np
import pytest

from longlive.chunks import FrameChunk, MediaSegment
from longlive.errors import MediaError
from longlive.media.mp4 import TakeFile, write_video
from longlive.media.segments import SegmentEncoder


def make_chunk(index: int, colour: tuple[int, int, int] = (200, 40, 30), num_frames: int = 12) -> FrameChunk:
    frames = np.empty((num_frames, 64, 96, 3), np.uint8)
    frames[:] = colour
    frames[:, :, :48] = (np.arange(num_frames) * 20 % 256).astype(np.uint8)[:, None, None, None]
    return FrameChunk(index, index, f"prompt {index}", 12 * index, frames, 16)


def decode(data: bytes) -> list[av.VideoFrame]:
    with av.open(io.BytesIO(data)) as container:
        return list(container.decode(video=0))


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


def test_transport_stream_segments_carry_the_time_since_the_start_of_the_take() -> None:
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


@pytest.mark.parametrize("container", ["mp4", "ts"])
def test_a_segment_of_one_picture_plays_and_joins_a_take_with_the_others(tmp_path, container) -> None:
    encoder, take = SegmentEncoder(container=container), TakeFile(tmp_path / "take.mp4")
    whole = make_chunk(0)
    for start, end in ((0, 1), (1, 12)):
        part = FrameChunk(0, 0, "a ball", start, whole.frames[start:end], 16, end == 12)
        segment = encoder.encode(part)
        assert [picture.key_frame for picture in decode(segment.data)] == [True] + [False] * (end - start - 1)
        assert segment.ends_chunk == part.ends_chunk
        take.append(segment)
    with av.open(str(take.close())) as video:
        pictures = list(video.decode(video=0))
    assert [picture.pts * picture.time_base for picture in pictures] == [Fraction(n, 16) for n in range(12)]
    shown = [int(picture.to_ndarray(format="rgb24")[32, 20].mean()) for picture in pictures]
    assert np.abs(np.array(shown) - np.arange(12) * 20).max() < 8


def test_a_segment_of_one_picture_is_of_the_same_stream_and_lasts_a_sixteenth_of_a_second() -> None:
    """A take has the parameter sets of its first segment alone; the next one follows after its duration."""
    one, many = (SegmentEncoder(scale=4).encode(make_chunk(0, num_frames=n)) for n in (1, 12))
    assert one.mime == many.mime
    sets = []
    for segment in (one, many):
        with av.open(io.BytesIO(segment.data)) as video:
            sets.append(bytes(video.streams.video[0].codec_context.extradata or b""))
            packets = [packet for packet in video.demux(video=0) if packet.size]
        assert sum(packet.duration * packet.time_base for packet in packets) == Fraction(len(packets), 16)
    assert sets[0] == sets[1]


def test_a_chunk_without_pictures_is_refused_in_words() -> None:
    with pytest.raises(MediaError, match="chunk 3 has no pictures"):
        SegmentEncoder().encode(make_chunk(3, num_frames=0))


@pytest.mark.parametrize("container", ["mp4", "ts"])
def test_a_take_holds_every_picture_at_its_time(tmp_path, container) -> None:
    encoder, take = SegmentEncoder(container=container), TakeFile(tmp_path / "take.mp4")
    for index in range(4):
        take.append(encoder.encode(make_chunk(index)))
        assert not (tmp_path / "take.mp4").exists()
    path = take.close()
    with av.open(str(path)) as container_:
        pictures = list(container_.decode(video=0))
        assert container_.duration == 3_000_000
    assert [picture.pts * picture.time_base for picture in pictures] == [Fraction(n, 16) for n in range(48)]
    assert [file.name for file in tmp_path.iterdir()] == ["take.mp4"]


def test_an_empty_take_is_an_error_and_leaves_no_file(tmp_path) -> None:
    with pytest.raises(MediaError, match="no pictures"):
        TakeFile(tmp_path / "take.mp4").close()
    assert not list(tmp_path.iterdir())


@contextmanager
def small_disk(limit: int) -> Iterator[None]:
    """No file may grow beyond ``limit`` bytes: what writing to a full disk looks like.

    Only inside the test's own lines, since pytest may be writing its report to a longer file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def noisy_segment(index: int) -> MediaSegment:
    frames = np.random.default_rng(index).integers(0, 256, (12, 64, 96, 3), dtype=np.uint8)
    return SegmentEncoder().encode(FrameChunk(index, 0, "noise", 12 * index, frames, 16))


def test_a_full_disk_is_told_in_words_and_leaves_no_half_file(tmp_path) -> None:
    take = TakeFile(tmp_path / "take.mp4")
    with small_disk(20_000), pytest.raises(MediaError, match=r"take\.mp4 cannot be written"):
        for index in range(10):
            take.append(noisy_segment(index))
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_while_the_take_is_closed_leaves_no_half_file(tmp_path) -> None:
    take = TakeFile(tmp_path / "take.mp4")
    take.append(SegmentEncoder().encode(make_chunk(0)))
    with small_disk(900), pytest.raises(MediaError, match="cannot be written"):
        take.close()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_told_in_words(tmp_path) -> None:
    with pytest.raises(MediaError, match="cannot be written"):
        TakeFile(tmp_path / "gone" / "take.mp4").append(noisy_segment(0))


def test_write_video_joins_chunks_and_removes_its_part_when_they_break_off(tmp_path) -> None:
    path = write_video(tmp_path / "v.mp4", (make_chunk(index) for index in range(2)), scale=2)
    with av.open(str(path)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].frames) == (192, 24)

    def broken() -> Iterator[FrameChunk]:
        yield make_chunk(0)
        raise RuntimeError("the model broke")

    with pytest.raises(RuntimeError, match="the model broke"):
        write_video(tmp_path / "w.mp4", broken())
    assert [file.name for file in tmp_path.iterdir()] == ["v.mp4"]
