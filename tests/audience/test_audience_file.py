"""What of an audience lies in its run's folder."""

from pathlib import Path

import pytest

from longlive.audience.audience_file import (
    NAME,
    KeptAudience,
    forget_audience,
    read_audience,
    write_audience,
)


def test_what_was_written_is_read_until_it_is_forgotten(tmp_path: Path) -> None:
    assert read_audience(tmp_path) is None
    kept = KeptAudience("an-id", takes_proposals=True, is_listed=True)
    write_audience(tmp_path, kept)
    assert read_audience(tmp_path) == kept
    forget_audience(tmp_path)
    forget_audience(tmp_path)
    assert read_audience(tmp_path) is None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"id": ""}', '{"id": 7}', '{"id": "a", "more": 1}', "\0"]
)
def test_what_cannot_be_read_is_no_audience(tmp_path: Path, content: str) -> None:
    (tmp_path / NAME).write_text(content)
    assert read_audience(tmp_path) is None


def test_a_folder_that_is_gone_breaks_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_audience(tmp_path / "gone", KeptAudience("an-id"))
    assert "will not survive a restart" in caplog.text and "an-id" not in caplog.text
    forget_audience(tmp_path / "gone")
