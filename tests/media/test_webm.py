"""A WebM has every picture at its time, and never stays half written."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from longlive.chunks import FrameChunk
from longlive.errors import MediaError
from longlive.media.webm import webm_is_available, write_webm
from tests.support.pictures import make_chunk


def test_pictures_become_vp9_in_a_webm_each_at_its_time(tmp_path: Path) -> None:
    assert webm_is_available()
    path = write_webm(tmp_path / "v.webm", map(make_chunk, range(3)), scale=2)
    assert path.read_bytes()[:4] == b"\x1aE\xdf\xa3" and b"webm" in path.read_bytes()[:64]
    with av.open(str(path)) as video:
        assert video.streams.video[0].codec_context.name == "vp9"
        pictures = list(video.decode(video=0))
    times = [float(picture.pts * picture.time_base) for picture in pictures]
    assert times == pytest.approx([number / 16 for number in range(36)], abs=1e-3)
    values = [picture.to_ndarray(format="rgb24")[64, 40].mean() for picture in pictures]
    assert (pictures[0].width, pictures[0].height) == (192, 128)
    assert np.abs(np.array(values) - np.arange(36) % 12 * 20).max() < 12
    assert list(tmp_path.iterdir()) == [path]


def test_no_pictures_are_an_error_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no pictures"):
        write_webm(tmp_path / "v.webm", [])
    assert not list(tmp_path.iterdir())


def test_a_source_that_breaks_off_and_a_missing_folder_leave_no_file(tmp_path: Path) -> None:
    def broken() -> Iterator[FrameChunk]:
        yield make_chunk(0)
        raise RuntimeError("the model broke")

    with pytest.raises(RuntimeError, match="the model broke"):
        write_webm(tmp_path / "v.webm", broken())
    with pytest.raises(MediaError, match="cannot be written"):
        write_webm(tmp_path / "gone" / "v.webm", [make_chunk(0)])
    assert not list(tmp_path.iterdir())
