"""A GIF is whole, loops, and never stays half written."""

import av
import numpy as np
import pytest

from longlive.chunks import FrameChunk
from longlive.errors import MediaError
from longlive.media.gif import write_gif


def chunks(count: int) -> list[FrameChunk]:
    frames = np.zeros((12, 64, 96, 3), dtype=np.uint8)
    frames[:, 16:48, 24:72] = np.arange(12, dtype=np.uint8)[:, None, None, None] * 20
    return [FrameChunk(i, 0, "a square that brightens", 12 * i, frames, 16) for i in range(count)]


def test_pictures_become_a_gif_of_their_size_and_length(tmp_path):
    path = write_gif(tmp_path / "square.gif", chunks(4), scale=2)
    with av.open(str(path)) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert frames[0].shape == (128, 192, 3)
    assert abs(len(frames) - 24) <= 1, "3 s at 8 pictures a second"
    assert frames[4][64, 96].mean() > frames[0][64, 96].mean()
    assert list(tmp_path.iterdir()) == [path]


def test_no_pictures_are_an_error_and_leave_nothing(tmp_path):
    with pytest.raises(MediaError, match="no pictures"):
        write_gif(tmp_path / "none.gif", [])
    assert list(tmp_path.iterdir()) == []


def test_a_failing_source_leaves_no_half_file(tmp_path):
    def broken():
        yield from chunks(1)
        raise MediaError("the source failed")

    with pytest.raises(MediaError, match="source"):
        write_gif(tmp_path / "half.gif", broken())
    assert list(tmp_path.iterdir()) == []
