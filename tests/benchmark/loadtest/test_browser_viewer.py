"""The pictures of a page in a browser, as the load test reads them."""

import numpy as np
import torch

from longlive.benchmark.loadtest.assignments import Look, profile
from longlive.benchmark.loadtest.browser import ViewerMetrics
from longlive.benchmark.loadtest.browser_viewer import BrowserViewer, bursts
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


def test_kept_pictures_are_read_in_rows_without_a_pause() -> None:
    mine, short, other = pictures(0, 12), pictures(0, 3), pictures(1, 8)
    all_kept = [*kept(mine, 0.0), *kept(short, 6.0), *kept(other, 12.0)]
    rows = bursts(all_kept)
    assert [len(row) for row in rows] == [12, 3, 8]
    assert torch.equal(rows[0], mine) and torch.equal(rows[2], other)
    assert bursts([]) == []

    tab = object.__new__(BrowserViewer)  # without a browser
    tab.watching = ViewerMetrics(0.0, [], [], pictures=all_kept)
    assert tab.looks() == [Look("meadow", "ball", ("red",) * 12), Look("beach", "cube", ("yellow",) * 8)]
    tab.watching = None
    assert tab.looks() == []
