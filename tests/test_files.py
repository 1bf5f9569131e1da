"""Files are replaced as a whole or not at all."""

from pathlib import Path

import pytest

from longlive.files import PartialFile, atomic_write


def test_a_whole_file_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_write(path) as part:
        part.write_text("new")
        assert path.read_text() == "old", "nothing changes before the end"
        assert part.parent == path.parent
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_keeps_the_old_file_and_leaves_nothing_beside_it(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)), atomic_write(path) as part:
        part.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_wrote_nothing_is_an_error_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), atomic_write(path):
        pass
    assert path.read_text() == "old"


def test_writers_with_suffixes_of_their_own_do_not_meet(tmp_path: Path) -> None:
    with (
        atomic_write(tmp_path / "a", suffix=".1") as first,
        atomic_write(tmp_path / "a", suffix=".2") as second,
    ):
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a").read_text() == "first", "the outer block ends last"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_partial_file_can_be_given_up_at_any_time(tmp_path: Path) -> None:
    file = PartialFile(tmp_path / "a")
    file.discard()
    file.part.write_text("half")
    file.discard()
    assert not list(tmp_path.iterdir())
