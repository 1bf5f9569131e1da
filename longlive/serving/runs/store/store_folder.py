"""The folder of all runs: where it is, who holds it, which runs lie there."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from longlive.errors import ConfigError, LongLiveError
from longlive.serving.runs.store.run_store import STORY, RunStore

STALE_S = 86_400
"""A temporary folder of runs that nothing has changed for so long, and that no app holds, is removed; so is a
run whose model is not served."""
_PREFIX = "longlive-"


def stored_runs(folder: Path) -> Iterator[RunStore]:
    """The runs in the folders of ``folder``; other folders are left alone."""
    for one in sorted(folder.iterdir()):
        if (one / STORY).exists():
            try:
                yield RunStore.read(one)
            except LongLiveError:
                continue


def store_folder(name: str | None, port: int) -> Path:
    """Where the runs of the app on a port are stored: in the folder of this name, or in a temporary one.

    Raises:
        ConfigError: if the folder cannot be made, or belongs to somebody else.
    """
    folder = Path(name) if name else Path(tempfile.gettempdir(), f"{_PREFIX}{os.getuid()}-{port}")
    cure = "Choose another with --store."
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError("store", str(folder), f"it cannot be made: {error.strerror}", cure) from error
    if folder.stat().st_uid != os.getuid():
        raise ConfigError("store", str(folder), "it belongs to somebody else", cure)
    return folder


class StoreFolder:
    """The folder of all runs, which this object holds for its process alone until it is closed.

    Attributes:
        path: of the folder.
    """

    def __init__(self, path: Path | None = None, *, keep: bool = True) -> None:
        """Make the folder if need be, and hold it.

        Args:
            path: None for a new temporary one, which is never kept.
            keep: whether it stays, with what is in it, when this object is closed.

        Raises:
            ConfigError: if another process holds it, or it cannot be written.
        """
        self.path = path or Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._is_kept = keep and path is not None
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = lock_folder(self.path)

    def close(self) -> None:
        """Remove the folder unless it is kept, and hold it no longer."""
        if not self._is_kept:
            shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def lock_folder(folder: Path) -> TextIO:
    """Hold a folder of runs for this process alone, until the file is closed.

    Raises:
        ConfigError: if another process holds it, or it cannot be written.
    """
    try:
        file = (folder / ".lock").open("w")
    except OSError as error:
        rule = f"it cannot be written: {error.strerror}"
        raise ConfigError("store", str(folder), rule, "Choose another with --store.") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise ConfigError(
            "store", str(folder), "another LongLive uses it", "Choose another with --store."
        ) from error
    return file


def is_stale(folder: Path) -> bool:
    """Whether nothing in a folder has changed for ``STALE_S``; OSError if it is gone."""
    newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
    return time.time() - newest >= STALE_S


def remove_stale_folders() -> None:
    """Remove the temporary folders that apps of this user left behind when they were killed, a day later."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}{os.getuid()}-*"):
        try:
            if folder.stat().st_uid != os.getuid() or not is_stale(folder):
                continue
            with lock_folder(folder):
                shutil.rmtree(folder, ignore_errors=True)
        except (OSError, ConfigError):  # it is gone, or in use
            continue
