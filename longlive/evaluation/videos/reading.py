"""Videos and session files as windows of small pictures, read once from beginning to end."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from longlive.errors import MediaError
from longlive.evaluation.videos.pixels import LONGEST_SIDE
from longlive.generation.session import Session
from longlive.generation.session_file import SessionRecord
from longlive.media.picture_reader import sample_video
from longlive.weights.loading import load_models

FPS = 16.0
"""About how many pictures a second are read of a video; a session gives all of its own."""
SUFFIXES = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi")
SESSION = ".json"
_LEAST = 3

Timed = tuple[float, np.ndarray]
"""The second of a picture, and uint8 (H, W, 3)."""


@dataclass(frozen=True)
class Window:
    """A part of a video.

    Attributes:
        start_s: of the part, in seconds since the first picture.
        pictures: uint8 (F, 3, H, W), at least 3.
        fps: at which they come.
    """

    start_s: float
    pictures: Tensor
    fps: float


def find_files(paths: Iterable[Path]) -> list[Path]:
    """The files of the arguments; a folder stands for the videos in it, by name.

    Raises:
        MediaError: if there is none.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(one for one in path.iterdir() if one.suffix.lower() in SUFFIXES)
            if not inside:
                raise MediaError(
                    f"{path} holds no video ({', '.join(SUFFIXES)}). Give another folder, or files."
                )
            found += inside
        else:
            found.append(path)
    return found


def read_windows(path: Path, window_s: float) -> Iterator[Window]:
    """The windows of a video or session file, in order; an end of less than half a window is left out.

    A session is generated again from its file, which takes as long as it did.

    Raises:
        MediaError, SessionFileError, CheckpointError: if it cannot be read, or is shorter than half a window.
    """
    source = session_pictures(path) if path.suffix.lower() == SESSION else None
    pictures = source or sample_video(path, fps=FPS, longest_side=LONGEST_SIDE)
    count = 0
    for window in _split(pictures, window_s):
        count += 1
        yield window
    if not count:
        raise MediaError(
            f"{path} is shorter than {window_s / 2:g} s. Give a longer video, or a smaller --window."
        )


def session_pictures(path: Path) -> Iterator[Timed]:
    """The pictures of a recorded session, made again."""
    record = SessionRecord.read(path)
    models = load_models(record.model)
    with Session.of_record(models, record) as session:
        for _ in record.chunks:
            chunk = session.next_chunk().until(record.num_frames or float("inf"))
            for number, picture in enumerate(chunk.frames):
                image = Image.fromarray(picture)
                image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BOX)
                yield chunk.start_seconds + number / chunk.fps, np.asarray(image)


def _split(pictures: Iterable[Timed], window_s: float) -> Iterator[Window]:
    index, held = 0, list[Timed]()
    for seconds, picture in pictures:
        if seconds >= (index + 1) * window_s and held:
            if len(held) >= _LEAST:
                yield _window(held, index * window_s)
            index, held = int(seconds // window_s), []
        held.append((seconds, picture))
    if len(held) >= _LEAST and held[-1][0] - index * window_s >= window_s / 2:
        yield _window(held, index * window_s)


def _window(held: list[Timed], start_s: float) -> Window:
    sizes = {picture.shape for _, picture in held}
    if len(sizes) > 1:
        raise MediaError(f"its pictures change their size at {start_s:g} s ({sorted(sizes)}). Cut it there.")
    pictures = torch.from_numpy(np.stack([picture for _, picture in held])).permute(0, 3, 1, 2)
    span = held[-1][0] - held[0][0]
    return Window(start_s, pictures, (len(held) - 1) / span if span > 0 else FPS)
