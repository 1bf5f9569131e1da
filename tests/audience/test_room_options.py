"""The room's options: defaults, and what cannot be is refused at the start, by its option."""

import argparse
from pathlib import Path

import pytest

from longlive.audience.room_options import RoomOptions, add_room_options, read_room_options
from longlive.errors import ConfigError


def read(*arguments: str) -> RoomOptions | None:
    parser = argparse.ArgumentParser()
    add_room_options(parser)
    return read_room_options(parser.parse_args(arguments))


def test_there_is_no_room_unless_it_is_asked_for() -> None:
    assert read() is None and read("--room-round-s", "5") is None
    assert read("--room") == RoomOptions()


def test_all_that_is_given_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scenes.json").write_text(
        '{"prompts": ["a ball", {"text": "a box", "switch": "hard", "at": 3}]}'
    )
    (tmp_path / "words.txt").write_text("bad\n")
    monkeypatch.setenv("OPERATOR", "x" * 16)
    numbers = ["--room-round-s=5", "--room-rest-s=6", "--room-length-s=7", "--voices-per-address=8"]
    files = [f"--room-storyboard={tmp_path / 'scenes.json'}", f"--refuse-words={tmp_path / 'words.txt'}"]
    options = read("--room", *numbers, *files, "--operator-token-env=OPERATOR")
    assert options is not None and options.first_prompt == "a ball" and options.operator_token == "x" * 16
    assert [(scene.text, scene.switch) for scene in options.scenes] == [("a ball", None), ("a box", "hard")]
    assert (options.round_s, options.rest_s, options.length_s, options.voices_per_address) == (5, 6, 7, 8)
    assert options.refuse is not None and options.refuse("so bad") and not options.refuse("good")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.txt", "a ball\n\na box\na star\n"),
        ("s.jsonl", '{"prompts": ["a ball", {"at": 5, "text": "a box"}]}\n{"prompts": ["a star"]}\n'),
        ("s.JSONL", '{"prompt": "a ball", "next": "a box"}\r{"prompts": ["a star"]}'),
    ],
)
def test_every_line_of_a_storyboard_comes(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    options = read("--room", f"--room-storyboard={tmp_path / name}")
    assert options is not None and [scene.text for scene in options.scenes] == ["a ball", "a box", "a star"]


@pytest.mark.parametrize("name", ["s.txt", "s.jsonl"])
def test_a_storyboard_without_lines_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("\n")
    with pytest.raises(ConfigError, match="it has no lines"):
        read("--room", f"--room-storyboard={tmp_path / name}")


@pytest.mark.parametrize("option", ["room-round-s", "room-rest-s", "room-length-s", "voices-per-address"])
def test_a_number_that_cannot_be_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=f"--{option} is 0.* above 0"):
        read("--room", f"--{option}=0")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "list of 1 to"),
        ("{", "not valid"),
        ('{"prompts": [7]}', "must hold a text"),
        (None, "cannot be read"),
    ],
)
def test_a_broken_storyboard_is_refused(tmp_path: Path, text: str | None, reason: str) -> None:
    path = tmp_path / "scenes.json"
    if text is not None:
        path.write_text(text or '{"prompts": []}')
    with pytest.raises(ConfigError, match=reason):
        read("--room", f"--room-storyboard={path}")


def test_a_token_that_can_be_guessed_or_is_not_set_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPERATOR", "short")
    for variable in ("OPERATOR", "NOT_SET_ANYWHERE"):
        with pytest.raises(ConfigError, match=r"--operator-token-env.*at least 16 characters"):
            read("--room", f"--operator-token-env={variable}")


def test_where_a_room_is_sent_is_checked_and_never_shown() -> None:
    options = read("--room", "--publish=rtmp://host/app/k3y")
    assert options is not None and options.publish == "rtmp://host/app/k3y" and "k3y" not in repr(options)
    for arguments, reason in ((["--room"], "address of a stream"), ([], "only a room is sent on")):
        with pytest.raises(ConfigError, match=reason) as caught:
            read(*arguments, "--publish=http://host/k3y")
        assert "k3y" not in str(caught.value)
