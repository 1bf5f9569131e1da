"""``generate`` and ``replay``: the files that they write, what they print, and what they refuse."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from longlive.cli import main

Command = Callable[..., int]


@pytest.fixture
def run(tiny_folder: Path) -> Command:
    """Run a command on the tiny model."""
    return lambda command, *options: main([command, *map(str, options), "--model", str(tiny_folder)])


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def pictures_in(path: Path) -> int:
    with av.open(str(path)) as file:
        assert (file.streams.video[0].width, file.streams.video[0].height) == (96, 64)
        return sum(1 for _ in file.decode(video=0))


def generate_and_save(run: Command, folder: Path, *more: object) -> Path:
    options = ("--at", 1, "a blue cube", "--seconds", 3, "--seed", 7, "--scale", 2)
    session = folder / "s.json"
    assert (
        run(
            "generate",
            "--prompt",
            "a red ball",
            *options,
            "--out",
            folder / "v.mp4",
            "--session",
            session,
            *more,
        )
        == 0
    )
    return session


def test_generate_writes_the_video_and_the_session_file(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate_and_save(run, tmp_path, "--switch", "hard", "--json")
    made = printed(capsys)
    assert made["prompts"] == [
        {"chunk": 0, "text": "a red ball", "switch": None},
        {"chunk": 2, "text": "a blue cube", "switch": "hard"},
    ]
    assert pictures_in(tmp_path / "v.mp4") == made["seconds"] * made["fps"] == 9 + 12 + 9 + 12 + 12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.json", "v.mp4"]


def test_generate_follows_a_storyboard(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = tmp_path / "stories.jsonl"
    board.write_text('{"prompts": ["a star"]}\n{"prompts": ["a red ball", "a blue cube"]}\n')
    options = ("--prompt", board, "--line", 1, "--switch-every", 1, "--seconds", 2)
    assert run("generate", *options, "--out", tmp_path / "v.mp4", "--json") == 0
    assert [(p["chunk"], p["text"]) for p in printed(capsys)["prompts"]] == [
        (0, "a red ball"),
        (2, "a blue cube"),
    ]


def test_replay_makes_the_same_video_again_and_verifies_it(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = generate_and_save(run, tmp_path)
    capsys.readouterr()
    assert (
        main(["replay", str(session), "--verify", "--scale", "2", "--out", str(tmp_path / "again.mp4")]) == 0
    )
    assert "5 chunks, all as recorded" in capsys.readouterr().out
    assert pictures_in(tmp_path / "again.mp4") == pictures_in(tmp_path / "v.mp4")


def test_replay_verify_exits_1_and_names_the_first_chunk_that_differs(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = generate_and_save(run, tmp_path)
    values = json.loads(session.read_text())
    values["chunks"][3] = "0" * 16
    session.write_text(json.dumps(values))
    capsys.readouterr()
    assert main(["replay", str(session), "--verify"]) == 1
    assert capsys.readouterr().out.strip() == "chunk 3 differs"
    assert main(["replay", str(session), "--json"]) == 0, "without --verify it is only reported"
    assert printed(capsys)["first_difference"] == 3


def test_replay_rounds_as_the_recorded_run_did(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = generate_and_save(run, tmp_path, "--quantize", "int8", "--cache", "fp8")
    assert json.loads(session.read_text())["quantization"] == "int8"
    assert main(["replay", str(session), "--verify"]) == 0
    plain = generate_and_save(run, tmp_path)
    assert main(["replay", str(plain), "--quantize", "int8"]) == 2
    assert "another quantization: off; here it is int8" in capsys.readouterr().err


def test_a_recording_with_another_prompt_does_not_verify(run: Command, tmp_path: Path) -> None:
    session = generate_and_save(run, tmp_path)
    values = json.loads(session.read_text())
    values["prompts"][1]["text"] = "a red star"
    session.write_text(json.dumps(values))
    assert main(["replay", str(session), "--verify"]) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--sink", 4), "sink is 4"),
        (("--window", 2), "window is 2"),
        (("--seed", -1), "seed is -1"),
        (("--seconds", 0), "seconds is 0"),
    ],
)
def test_an_impossible_option_is_refused_and_leaves_no_file(
    run: Command, tmp_path: Path, options: tuple[object, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("generate", "--prompt", "a red ball", "--out", tmp_path / "v.mp4", *options) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
