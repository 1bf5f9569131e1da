"""The folder of all runs belongs to one user and one process."""

import os
import tempfile
import time
from pathlib import Path

import pytest

from longlive.errors import ConfigError
from longlive.serving.runs.store.store_folder import (
    STALE_S,
    StoreFolder,
    lock_folder,
    remove_stale_folders,
    store_folder,
)


def test_the_folder_of_stories_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = store_folder(str(tmp_path / "a" / "b"), 7860)
    assert folder.is_dir() and folder.stat().st_mode & 0o077 == 0
    assert str(os.getuid()) in store_folder(None, 7860).name
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        store_folder(str(tmp_path / "file" / "x"), 7860)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(ConfigError, match="somebody else"):
        store_folder(str(tmp_path / "a"), 7860)


def test_a_folder_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    held = lock_folder(tmp_path)
    with pytest.raises(ConfigError, match="another LongLive uses it"):
        lock_folder(tmp_path)
    held.close()
    lock_folder(tmp_path).close()


def test_a_folder_that_is_not_to_be_kept_goes_and_any_other_stays(tmp_path: Path) -> None:
    for keep in (True, False):
        folder = StoreFolder(tmp_path / f"keep-{keep}", keep=keep)
        (folder.path / "run").mkdir()
        with pytest.raises(ConfigError, match="another LongLive uses it"):
            StoreFolder(folder.path)
        folder.close()
        assert folder.path.exists() is keep
    temporary = StoreFolder()
    temporary.close()
    assert not temporary.path.exists()


def test_what_killed_apps_left_is_removed_a_day_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    old, new, held = (store_folder(None, port) for port in (1, 2, 3))
    other = tmp_path / "longlive-of-somebody-else"
    other.mkdir()
    lock = lock_folder(held)
    for folder in (old, held, other):
        (folder / "run").mkdir()
        for path in (*folder.iterdir(), folder):
            os.utime(path, (time.time() - STALE_S - 9,) * 2)
    remove_stale_folders()
    assert sorted(tmp_path.iterdir()) == sorted([new, held, other])
    lock.close()


def test_a_folder_that_cannot_be_written_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(ConfigError, match="it cannot be written"):
        lock_folder(tmp_path)
