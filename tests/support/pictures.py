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


def transport_counters(data: bytes) -> dict[int, list[int]]:
    """The continuity counters of a transport stream's packets with a payload, in order, by PID."""
    found: dict[int, list[int]] = {}
    for start in range(0, len(data), 188):
        packet = data[start : start + 188]
        assert packet[0] == 0x47 and len(packet) == 188
        if packet[3] & 0x10:
            found.setdefault((packet[1] & 0x1F) << 8 | packet[2], []).append(packet[3] & 15)
    return found
