"""MP4 files: every picture at its time; a full disk leaves nothing behind."""

import os
import resource
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from longlive.chunks import FrameChunk, MediaSegment
from longlive.errors import MediaError
from longlive.media.mp4 import Mp4Writer, write_video
from longlive.media.segments import Container, SegmentEncoder
from tests.support.pictures import decode, make_chunk


@pytest.mark.parametrize("container", ["mp4", "ts"])
def test_a_segment_of_one_picture_plays_and_joins_a_file_with_the_others(
    tmp_path: Path, container: Container
) -> None:
    encoder, writer = SegmentEncoder(container=container), Mp4Writer(tmp_path / "video.mp4")
    whole = make_chunk(0)
    for start, end in ((0, 1), (1, 12)):
        part = FrameChunk(0, 0, "a ball", start, whole.frames[start:end], 16, end == 12)
        segment = encoder.encode(part)
        assert [picture.key_frame for picture in decode(segment.data)] == [True] + [False] * (end - start - 1)
        assert segment.ends_chunk == part.ends_chunk
        writer.append(segment)
    with av.open(str(writer.close())) as video:
        pictures = list(video.decode(video=0))
    assert [picture.pts * picture.time_base for picture in pictures] == [Fraction(n, 16) for n in range(12)]
    values = [int(picture.to_ndarray(format="rgb24")[32, 20].mean()) for picture in pictures]
    assert np.abs(np.array(values) - np.arange(12) * 20).max() < 8


@pytest.mark.parametrize("container", ["mp4", "ts"])
def test_a_file_holds_every_picture_at_its_time(tmp_path: Path, container: Container) -> None:
    encoder, writer = SegmentEncoder(container=container), Mp4Writer(tmp_path / "video.mp4")
    for index in range(4):
        writer.append(encoder.encode(make_chunk(index)))
        assert not (tmp_path / "video.mp4").exists()
    path = writer.close()
    with av.open(str(path)) as container_:
        pictures = list(container_.decode(video=0))
        assert container_.duration == 3_000_000
    assert [picture.pts * picture.time_base for picture in pictures] == [Fraction(n, 16) for n in range(48)]
    assert [file.name for file in tmp_path.iterdir()] == ["video.mp4"]


def boxes(data: bytes) -> list[str]:
    """The names of the boxes of an MP4, in order."""
    names, start = [], 0
    while start < len(data):
        size, name = struct.unpack_from(">I4s", data, start)
        names.append(name.decode())
        start += size
    return names


@pytest.mark.parametrize(("name", "brand"), [("v.mp4", b"isom"), ("v.M4V", b"isom"), ("v.MOV", b"qt  ")])
def test_the_index_stands_before_the_pictures(tmp_path: Path, name: str, brand: bytes) -> None:
    path = write_video(tmp_path / name, map(make_chunk, range(2)))
    data = path.read_bytes()
    assert data[8:12] == brand
    order = boxes(data)
    assert order.index("moov") < order.index("mdat") and "moof" not in order


def test_what_a_killed_program_leaves_beside_the_file_can_be_played(tmp_path: Path) -> None:
    writer = Mp4Writer(tmp_path / "video.mp4")
    for index in range(3):
        writer.append(SegmentEncoder().encode(make_chunk(index)))
    assert len(decode((tmp_path / "video.mp4.part").read_bytes())) >= 24, "all but the last segment"
    writer.discard()


def test_a_video_goes_through_a_link_and_into_a_device(tmp_path: Path) -> None:
    (tmp_path / "link.mp4").symlink_to(tmp_path / "video.mp4")
    write_video(tmp_path / "link.mp4", [make_chunk(0)])
    assert (tmp_path / "link.mp4").is_symlink() and len(decode((tmp_path / "video.mp4").read_bytes())) == 12
    write_video(os.devnull, [make_chunk(0)])
    assert Path(os.devnull).is_char_device()


def test_a_disk_that_fills_while_the_index_is_moved_leaves_no_file(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "video.mp4", map(make_chunk, range(4)))
    size = whole.stat().st_size  # that of the fragments is smaller
    whole.unlink()
    writer = Mp4Writer(whole)
    for index in range(4):
        writer.append(SegmentEncoder().encode(make_chunk(index)))
    with small_disk(size - 100), pytest.raises(MediaError, match="cannot be written"):
        writer.close()
    assert not list(tmp_path.iterdir())


def test_an_empty_file_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no pictures"):
        Mp4Writer(tmp_path / "video.mp4").close()
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


def test_a_full_disk_is_reported_and_leaves_no_partial_file(tmp_path: Path) -> None:
    writer = Mp4Writer(tmp_path / "video.mp4")
    with small_disk(20_000), pytest.raises(MediaError, match=r"video\.mp4 cannot be written"):
        for index in range(10):
            writer.append(noisy_segment(index))
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_while_the_file_is_closed_leaves_no_partial_file(tmp_path: Path) -> None:
    writer = Mp4Writer(tmp_path / "video.mp4")
    writer.append(SegmentEncoder().encode(make_chunk(0)))
    with small_disk(900), pytest.raises(MediaError, match="cannot be written"):
        writer.close()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="cannot be written"):
        Mp4Writer(tmp_path / "gone" / "video.mp4").append(noisy_segment(0))


def test_write_video_joins_chunks_and_removes_its_part_when_they_break_off(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", (make_chunk(index) for index in range(2)), scale=2)
    with av.open(str(path)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].frames) == (192, 24)

    def broken() -> Iterator[FrameChunk]:
        yield make_chunk(0)
        raise RuntimeError("the model broke")

    with pytest.raises(RuntimeError, match="the model broke"):
        write_video(tmp_path / "w.mp4", broken())
    assert [file.name for file in tmp_path.iterdir()] == ["v.mp4"]
