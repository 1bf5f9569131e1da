"""Figures of a chunk's pictures that tell whether a video drifts; cheap enough for each chunk."""

import numpy as np

from longlive.chunks import PictureStatistics

MAX_COLUMNS = 43
"""Larger pictures are read with gaps between their pixels."""
LAG = 4
"""Pictures are compared with those so many before them, as a latent decodes to four, which flicker alike."""
ROWS, COLUMNS = 4, 6
"""Fields of a layout."""
UNLIKE = 0.23
"""Mean difference of two layouts, as a share of white, from which pictures have nothing in common: the median
between videos of different settings (storybook model; serving/README.md says how it was measured)."""


def measure_pictures(pictures: np.ndarray) -> PictureStatistics:
    """The figures of pictures, uint8 (F, H, W, 3), RGB, at least 1; of a single one, the motion is 0."""
    step = -(-pictures.shape[2] // MAX_COLUMNS)
    red, green, blue = values = np.moveaxis(pictures[:, ::step, ::step], 3, 0).astype(np.float32)
    vivid = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    lag = min(LAG, len(pictures) - 1)
    motion = np.abs(values[:, lag:] - values[:, :-lag]).mean() if lag else 0.0
    return PictureStatistics(
        brightness=_percent(values.mean()),
        saturation=_percent(vivid.mean()),
        contrast=_percent((red + green + blue).std(axis=(1, 2)).mean() / 3),
        motion=_percent(motion),
        layout=_layout(values.mean(1)).tobytes().hex(),
    )


def similarity(layout: str, other: str) -> float:
    """How alike two layouts are: 1 for the same colours in the same places, 0 for another scene."""
    first, second = (
        np.frombuffer(bytes.fromhex(one), np.uint8).astype(np.float32) for one in (layout, other)
    )
    return round(max(0.0, 1 - float(np.abs(first - second).mean()) / (255 * UNLIKE)), 3)


def _layout(picture: np.ndarray) -> np.ndarray:
    """The mean colour of each field of a picture (3, H, W): uint8 (ROWS, COLUMNS, 3)."""
    rows = [part.mean(1) for part in np.array_split(picture, ROWS, axis=1)]
    fields = [part.mean(1) for row in rows for part in np.array_split(row, COLUMNS, axis=1)]
    return np.stack(fields).round().astype(np.uint8).reshape(ROWS, COLUMNS, 3)


def _percent(value: float) -> float:
    """A value in [0, 255] in % of white."""
    return round(float(value) / 2.55, 3)
