"""The pictures of a page in a browser, as the load test reads them."""

import numpy as np
import torch

from longlive.benchmark.loadtest.assignments import PictureContent, profile
from longlive.benchmark.loadtest.browser import BrowserRecording
from longlive.benchmark.loadtest.browser_viewer import BrowserViewer, split_series
from longlive.storybook.world.drawing import Scene, draw_story


def pictures(number: int, num_frames: int) -> torch.Tensor:
    own = profile(number)
    return draw_story(
        [(Scene(own.setting, own.shape, own.colour(0), "stand"), num_frames)], np.random.default_rng(0)
    )


def kept(frames: torch.Tensor, second: float) -> list[tuple[float, bytes]]:
    return [
        (second + number / 16, frame.permute(1, 2, 0).numpy().tobytes())
        for number, frame in enumerate(frames)
    ]


def test_kept_pictures_are_read_in_series_without_a_pause() -> None:
    mine, short, other = pictures(0, 12), pictures(0, 3), pictures(1, 8)
    all_kept = [*kept(mine, 0.0), *kept(short, 6.0), *kept(other, 12.0)]
    series = split_series(all_kept)
    assert [len(one) for one in series] == [12, 3, 8]
    assert torch.equal(series[0], mine) and torch.equal(series[2], other)
    assert split_series([]) == []

    viewer = object.__new__(BrowserViewer)  # without a browser
    viewer.recording = BrowserRecording(0.0, [], [], pictures=all_kept)
    assert viewer.contents() == [
        PictureContent("meadow", "ball", ("red",) * 12),
        PictureContent("beach", "cube", ("yellow",) * 8),
    ]
    viewer.recording = None
    assert viewer.contents() == []
