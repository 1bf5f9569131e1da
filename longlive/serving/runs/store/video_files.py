"""What a run leaves for its viewer: the video and the session file, made of its store."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from longlive.errors import LongLiveError, MediaError, SessionFileError, reason_of
from longlive.files import name_of_video
from longlive.media.mp4 import Mp4Writer
from longlive.serving.runs.store.run_store import RunStore


@dataclass(frozen=True)
class StoredFiles:
    """What a run leaves; None for what could not be written, and why, one message each."""

    video: Path | None
    session_file: Path | None
    errors: tuple[str, ...]


def write_files(store: RunStore) -> StoredFiles | None:
    """Write the video and the session file, as far as possible; None if nothing was made."""
    record = store.record()
    if record is None:
        return None
    errors: list[str] = []
    name = name_of_video(record.prompts[0].text, record.seed)
    session_file = _attempt(write_session, store, store.folder / f"{name}.json", errors)
    video = _attempt(write_video, store, store.folder / f"{name}.mp4", errors) if store.is_intact else None
    return StoredFiles(video, session_file, tuple(errors))


def write_video(store: RunStore, path: Path) -> Path:
    """Join the segments to an MP4.

    Raises:
        MediaError: if there are none, or the file cannot be written.
    """
    video = Mp4Writer(path)
    try:
        for segment in store.segments():
            video.append(segment)
        return video.close()
    except OSError as error:
        raise MediaError(f"the video {path.name} cannot be written: {reason_of(error)}") from error
    finally:
        video.discard()


def write_session(store: RunStore, path: Path) -> Path:
    """Write the session file; SessionFileError when it cannot be written, or nothing was made."""
    record = store.record()
    if record is None:
        raise SessionFileError("Nothing was made yet, so there is no session file.")
    record.write(path)
    return path


def _attempt(
    write: Callable[[RunStore, Path], Path], store: RunStore, path: Path, errors: list[str]
) -> Path | None:
    try:
        return write(store, path)
    except (LongLiveError, OSError) as error:
        errors.append(str(error))
        return None
