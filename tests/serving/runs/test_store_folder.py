"""The folder of all runs belongs to one user and one process."""

import os
from pathlib import Path

import pytest

from longlive.errors import ConfigError
from longlive.serving.runs.store_folder import lock_folder, store_folder


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
