"""Chunks of simple pictures, and pictures out of encoded video."""

import io

import av
import numpy as np

from longlive.chunks import FrameChunk


def make_chunk(index: int, colour: tuple[int, int, int] = (200, 40, 30), num_frames: int = 12) -> FrameChunk:
    frames = np.empty((num_frames, 64, 96, 3), np.uint8)
    frames[:] = colour
    frames[:, :, :48] = (np.arange(num_frames) * 20 % 256).astype(np.uint8)[:, None, None, None]
    return FrameChunk(index, index, f"prompt {index}", 12 * index, frames, 16)


def decode(data: bytes) -> list[av.VideoFrame]:
    with av.open(io.BytesIO(data)) as container:
        return list(container.decode(video=0))
