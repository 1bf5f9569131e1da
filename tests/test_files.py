"""Files are replaced as a whole or not at all, wherever they are, and read however they were saved."""

import codecs
import os
import threading
import time
from pathlib import Path

import pytest

from longlive.errors import ConfigError
from longlive.files import (
    PartialFile,
    atomic_write,
    check_destination,
    check_distinct,
    check_folder,
    has_suffix,
    name_of_video,
    read_lines,
    read_text,
    unused_name,
)
from longlive.media.mp4 import write_video
from tests.support.pictures import make_chunk


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


def test_a_link_stays_a_link_and_its_target_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere.txt"
    target.write_text("old")
    link = tmp_path / "link.txt"
    link.symlink_to(target)
    with atomic_write(link) as part:
        part.write_text("new")
    assert link.is_symlink() and target.read_text() == "new"
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere.txt", "link.txt"}


def test_a_link_to_nothing_makes_its_target(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "new")
    with atomic_write(tmp_path / "link") as part:
        part.write_text("text")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "new").read_text() == "text"


def test_a_pipe_stays_a_pipe_and_its_reader_gets_the_whole_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="nothing reads this pipe"):
        check_destination("--out", pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    deadline = time.monotonic() + 20
    while True:  # until the reader has opened it
        try:
            check_destination("--out", pipe)
            break
        except ConfigError:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    with atomic_write(pipe) as part:
        part.write_bytes(b"whole" * 50_000)
        assert part.parent != tmp_path
    reader.join(20)
    assert pipe.is_fifo() and got == [b"whole" * 50_000]
    assert list(tmp_path.iterdir()) == [pipe] and not part.exists()


def test_a_device_stays_a_device() -> None:
    device = Path(os.devnull)
    check_destination("--out", device)
    with atomic_write(device) as part:
        part.write_text("text")
    assert device.is_char_device()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("folder", "it is a folder"),
        ("gone/x.mp4", "there is no folder"),
        ("plain/x.mp4", "there is no folder"),
        (f"{'x' * 300}.mp4", "cannot be written"),
        ("a\0b", "cannot be written"),
        ("loop", "cannot be written"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_and_unharmed(
    tmp_path: Path, name: str, words: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").write_text("old")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=rf"^--out is .*{words}"):
        check_destination("--out", tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_check_leaves_old_and_unfinished_files_as_they_are(tmp_path: Path) -> None:
    for name in ("a", "a.part"):
        (tmp_path / name).write_text("old")
    check_destination("--out", tmp_path / "a")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old", "a.part": "old"}


def test_a_new_folder_is_made_only_where_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "new/er"):
        check_folder("--out", path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    for path, words in ((tmp_path / "full", "are kept"), (tmp_path / "full/file", "is a file")):
        with pytest.raises(ConfigError, match=rf"^--out is .*{words}"):
            check_folder("--out", path)
    with pytest.raises(ConfigError, match=r"file is a file"):
        check_folder("--out", tmp_path / "full/file/model")
    assert not (tmp_path / "new").exists()


def test_two_options_may_not_name_one_file_by_any_path(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for other in (tmp_path / "a", tmp_path / "b/../a", tmp_path / "link"):
        (tmp_path / "b").mkdir(exist_ok=True)
        with pytest.raises(ConfigError, match=r"^--session is .*--out is the same file"):
            check_distinct({"--out": tmp_path / "a", "--session": other})
    check_distinct({"--out": tmp_path / "a", "--session": None, "--other": tmp_path / "c"})
    check_distinct({"--out": Path(os.devnull), "--session": Path(os.devnull)})


def test_an_existing_file_is_kept_by_the_first_free_number(tmp_path: Path) -> None:
    path = tmp_path / "a.b.mp4"
    assert unused_name(path) == path
    path.touch()
    assert unused_name(path).name == "a.b-2.mp4"
    (tmp_path / "a.b-2.mp4").symlink_to(tmp_path / "gone")
    assert unused_name(path).name == "a.b-3.mp4"
    assert unused_name(Path(os.devnull)) == Path(os.devnull)


@pytest.mark.parametrize(
    "data",
    [
        b'["a", "\xc3\xa9"]\r\n',
        b'\xef\xbb\xbf["a", "\xc3\xa9"]\r',
        codecs.BOM_UTF16_LE + '["a", "é"]\n'.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + '["a", "é"]\r\n'.encode("utf-16-be"),
    ],
)
def test_text_is_read_in_every_encoding_that_says_what_it_is(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    assert read_text(tmp_path / "a") == '["a", "é"]\n'
    assert read_lines(tmp_path / "a") == ['["a", "é"]'.encode()]


def test_lines_end_where_json_and_editors_end_them(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("one\u2028still\x0bone\x85\r\n\rtwo\n\nthree".encode())
    assert [line.decode() for line in read_lines(tmp_path / "a")] == [
        "one\u2028still\x0bone\x85",
        "",
        "two",
        "",
        "three",
    ]
    (tmp_path / "a").write_bytes(b"")
    assert read_lines(tmp_path / "a") == []


def test_suffixes_are_known_in_capitals() -> None:
    assert has_suffix("a.JSON", ".json") and has_suffix(Path("b.Mp4"), ".gif", ".mp4")
    assert not has_suffix("json", ".json")


@pytest.mark.parametrize(
    ("prompt", "slug"),
    [
        ("a red ball on snow", "a-red-ball-on-snow-"),
        ("A  Red, Ball!!", "a-red-ball-"),
        ("../../etc/passwd\x00; rm -rf ~ $(reboot) `x` <b>&\"'|*?:\\", "etc-passwd-rm-rf-reboot-x-b-"),
        ("-rf", "rf-"),
        ("\u8d64\u3044\u30dc\u30fc\u30eb", "\u8d64\u3044\u30dc\u30fc\u30eb-"),
        ("\u0932\u093e\u0932 \u0917\u0947\u0902\u0926", "\u0932\u093e\u0932-\u0917\u0947\u0902\u0926-"),
        ("e\u0301t\u00e9", "\u00e9t\u00e9-"),
        ("red\u202egp4.exe\u200b", "red-gp4-exe-"),
        ("\U0001f600 \u2026 !?", ""),
        ("", ""),
        ("x" * 500, "x" * 64 + "-"),
        ("\u8d64" * 500, "\u8d64" * 21 + "-"),
        ("one two " * 99, "one-two-" * 8),
    ],
)
def test_the_name_of_a_video_is_its_prompt_and_seed_and_safe(prompt: str, slug: str, tmp_path: Path) -> None:
    name = name_of_video(prompt, 7)
    assert name == f"longlive-{slug}seed7"
    (tmp_path / f"{name_of_video(prompt, 2**63 - 1)}-2.mp4.part.whole").touch()


@pytest.mark.parametrize("length", [240, 245, 250, 255, 300])
def test_a_name_that_leaves_no_room_for_its_part_is_refused_at_the_start(length: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"it cannot be written \(File name too long\)"):
        check_destination("--out", tmp_path / f"{'v' * (length - 4)}.mp4")
    assert not list(tmp_path.iterdir())


def test_the_longest_name_that_is_accepted_can_be_written_and_numbered(tmp_path: Path) -> None:
    path = tmp_path / f"{'v' * 235}.mp4"
    check_destination("--out", path)
    path.touch()
    write_video(unused_name(path), [make_chunk(0)])
    assert len(list(tmp_path.iterdir())) == 2
