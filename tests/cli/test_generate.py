"""``generate`` and ``replay``: the files that they write, what they print, and what they refuse."""

import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from longlive import ModelBundle
from longlive.cli import main
from longlive.errors import FitError
from longlive.generation.session import Session
from tests.support.page_client import size_of

Command = Callable[..., int]


@pytest.fixture
def run(tiny_folder: Path) -> Command:
    """Run a command on the tiny model."""
    return lambda command, *options: main([command, *map(str, options), "--model", str(tiny_folder)])


@pytest.fixture
def nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a model fails the test."""

    def load(*_: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("longlive.cli.generate.load_with_options", load)


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
    assert pictures_in(tmp_path / "v.mp4") == made["seconds"] * made["fps"] == 3 * 16
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.json", "v.mp4"]


def test_generate_begins_with_a_picture_and_replay_makes_it_again(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "photo.png"
    Image.linear_gradient("L").save(picture)
    session = generate_and_save(run, tmp_path, "--start", picture)
    assert "begins with" not in capsys.readouterr().err
    picture.unlink()
    assert run("replay", session, "--verify", "--out", tmp_path / "again.mp4") == 0
    assert "5 chunks, all as recorded" in capsys.readouterr().out
    assert (tmp_path / "again.mp4").stat().st_size > 1000
    recorded = json.loads(session.read_text())
    session.write_text(json.dumps({key: value for key, value in recorded.items() if key != "start"}))
    assert run("replay", session, "--verify") == 1
    assert "chunk 0 differs" in capsys.readouterr().out


def test_generate_goes_on_from_a_video_and_says_from_how_much_of_it(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = generate_and_save(run, tmp_path).with_name("v.mp4")
    capsys.readouterr()
    options = ("--seconds", 4, "--out", tmp_path / "w.mp4", "--session", tmp_path / "t.json")
    assert run("generate", "--prompt", "a red ball", "--start", first, *options) == 0
    assert f"begins with the last 2.06 s of {first}" in capsys.readouterr().err
    assert run("replay", tmp_path / "t.json", "--verify") == 0


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize(
    ("name", "words"),
    [("gone.png", "no file"), ("text.png", "no picture or video"), ("v.mp4", "--start is the same file")],
)
def test_what_cannot_be_begun_with_is_refused_before_the_model_is_loaded(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    (tmp_path / "text.png").write_text("no picture")
    options = ("--prompt", "a red ball", "--start", tmp_path / name, "--out", tmp_path / "v.mp4")
    assert run("generate", *options) == 2
    assert words in capsys.readouterr().err


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
    plain = generate_and_save(run, tmp_path, "--force")
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
        (("--sink", -4), "sink is -4"),
        (("--window", 2), "window is 2"),
        (("--seed", -1), "seed is -1"),
        (("--seconds", 0), "seconds is 0"),
        (("--seconds", "inf"), "seconds is inf"),
        (("--seconds", "nan"), "seconds is nan"),
        (("--seconds", -1), "seconds is -1"),
        (("--at", "nan", "a blue cube"), "--at is nan"),
        (("--at", -1, "a blue cube"), "--at is -1"),
        (("--at", "inf", "a blue cube"), "--at is inf"),
        (("--switch-every", 0), "--switch-every is 0"),
        (("--switch-every", "inf"), "--switch-every is inf"),
        (("--scale", -1), "--scale is -1"),
        (("--scale", 0), "--scale is 0"),
        (("--scale", 1000), "--scale is 1000"),
        (("--threads", -1), "--threads is -1"),
        (("--seed", 2**63), "seed is 9223372036854775808"),
        (("--at", 1, __file__), "that is a file"),
        (("--prompt", __file__), "that is a file"),
        (("--size", "tall"), "size is 'tall', but it must be width x height in pixels"),
        (("--size", "32x48"), "size is '32x48', but the pictures of tiny have 48x32 pixels"),
    ],
)
def test_an_impossible_option_is_refused_before_the_model_is_loaded_and_leaves_no_file(
    run: Command,
    tmp_path: Path,
    options: tuple[object, ...],
    words: str,
    capsys: pytest.CaptureFixture[str],
    nothing_is_loaded: None,
) -> None:
    assert run("generate", "--prompt", "a red ball", "--out", tmp_path / "v.mp4", *options) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--out", "folder.mp4"), "--out is 'folder.mp4', but it is a folder"),
        (("--out", "gone/v.mp4"), "there is no folder gone"),
        (("--out", "v.avi"), "videos are written as .mp4, .m4v, .mov, .webm, .gif"),
        (("--out", "v.MKV"), "videos are written as"),
        (("--out", "folder"), "--out is 'folder', but it is a folder"),
        (("--out", "x" * 300 + ".mp4"), "it cannot be written (File name too long)"),
        (("--out", "x" * 300), "it cannot be written (File name too long)"),
        (("--out", "x" * 300 + ".avi"), "videos are written as"),
        (("--session", "gone/s.json"), "--session is 'gone/s.json', but there is no folder"),
        (("--session", "folder.mp4"), "--session is 'folder.mp4', but it is a folder"),
        (("--out", "same.mp4", "--session", "same.mp4"), "--out is the same file"),
        (("--out", "same.mp4", "--session", "./same.mp4"), "--out is the same file"),
        (("--prompt", "story.json", "--session", "story.json"), "the input is the same file"),
    ],
)
def test_a_destination_is_refused_before_the_model_is_loaded(
    run: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    words: str,
    capsys: pytest.CaptureFixture[str],
    nothing_is_loaded: None,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.mp4").mkdir()
    Path("folder").mkdir()
    Path("story.json").write_text('{"prompts": ["a red ball"]}')
    assert run("generate", "--prompt", "a red ball", *options) == 2
    assert words in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"folder.mp4", "folder", "story.json"}


@pytest.mark.parametrize("prompt", ["a red ball", "gone.txt", "story.json"])
def test_a_line_of_a_prompt_without_lines_is_refused(
    run: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    nothing_is_loaded: None,
    prompt: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("story.json").write_text('{"prompts": ["a red ball"]}')
    assert run("generate", "--prompt", prompt, "--line", 0) == 2
    assert "--line is 0, but lines are those of a .jsonl or .txt file" in capsys.readouterr().err


def test_replay_does_not_write_over_its_own_file(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], nothing_is_loaded: None
) -> None:
    (tmp_path / "s.mp4").write_text("{}")
    assert run("replay", tmp_path / "s.mp4", "--out", tmp_path / "s.mp4", "--force") == 2
    assert "the input is the same file" in capsys.readouterr().err


def short(folder: Path, name: str = "v.mp4") -> tuple[object, ...]:
    return "--prompt", "a red ball", "--seconds", 0.5, "--out", folder / name


def test_files_that_exist_are_kept_unless_force_is_given(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("v.mp4", "s.json"):
        (tmp_path / name).write_text("mine")
    options = (*short(tmp_path), "--session", tmp_path / "s.json", "--json")
    assert run("generate", *options) == 0
    captured = capsys.readouterr()
    assert "exists already and is kept" in captured.err
    result = json.loads(captured.out)
    assert (Path(result["out"]).name, Path(result["session"]).name) == ("v-2.mp4", "s-2.json")
    assert (tmp_path / "v.mp4").read_text() == (tmp_path / "s.json").read_text() == "mine"
    assert run("generate", *options, "--force") == 0
    assert pictures_in_any(tmp_path / "v.mp4") == pictures_in_any(tmp_path / "v-2.mp4") == 8


def pictures_in_any(path: Path) -> int:
    with av.open(str(path)) as file:
        return sum(1 for _ in file.decode(video=0))


@pytest.mark.parametrize(
    ("name", "begins", "num_frames"),
    [
        ("v.MOV", b"ftypqt", 8),
        ("v.M4V", b"ftyp", 8),
        ("v.Mp4", b"ftyp", 8),
        ("v.WebM", b"\x1aE\xdf\xa3", 8),
        ("v.GIF", b"GIF89a", 4),
    ],
)
def test_the_suffix_chooses_the_container_in_capitals_too(
    run: Command, tmp_path: Path, name: str, begins: bytes, num_frames: int
) -> None:
    session = tmp_path / "s.json"
    assert run("generate", *short(tmp_path, name), "--session", session) == 0
    assert begins in (tmp_path / name).read_bytes()[:10]
    assert pictures_in_any(tmp_path / name) == num_frames
    again = tmp_path / f"again{Path(name).suffix}"
    assert main(["replay", str(session), "--verify", "--out", str(again)]) == 0
    assert pictures_in_any(again) == num_frames


def test_a_name_without_a_suffix_gets_that_of_an_mp4_and_this_is_said(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("v").write_text("kept")
    assert run("generate", *short(Path(), "v"), "--session", "s.json", "--json") == 0
    captured = capsys.readouterr()
    assert "v has no suffix, so the video is named v.mp4" in captured.err
    assert json.loads(captured.out)["out"] == "v.mp4"
    assert main(["replay", "s.json", "--out", "v", "--json"]) == 0
    assert printed(capsys)["out"] == "v-2.mp4"
    assert Path("v.mp4").read_bytes() == Path("v-2.mp4").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"v", "v.mp4", "v-2.mp4", "s.json"}
    assert Path("v").read_text() == "kept"


@pytest.mark.parametrize(
    ("seconds", "num_frames"), [(0.05, 1), (9 / 16, 9), (0.6, 10), (1.3, 21), (1.3125, 21), (2.5, 40)]
)
def test_a_video_has_the_length_that_was_asked_for_and_its_replay_too(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], seconds: float, num_frames: int
) -> None:
    out, session = tmp_path / "v.mp4", tmp_path / "s.json"
    options = ("--prompt", "a red ball", "--seconds", seconds, "--out", out, "--session", session)
    assert run("generate", *options, "--json") == 0
    assert printed(capsys)["seconds"] * 16 == pictures_in_any(out) == num_frames
    ends_with_a_chunk = num_frames in (9, 21)
    assert ("num_frames" in json.loads(session.read_text())) is not ends_with_a_chunk
    assert main(["replay", str(session), "--verify", "--json", "--out", str(tmp_path / "again.mp4")]) == 0
    assert printed(capsys)["seconds"] * 16 == pictures_in_any(tmp_path / "again.mp4") == num_frames
    assert (tmp_path / "again.mp4").read_bytes() == out.read_bytes()


def test_the_default_name_is_that_of_prompt_and_seed(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    prompt = "A red ball: \u8d64\u3044 / ../balls " + "on and on " * 9
    assert run("generate", "--prompt", prompt, "--seconds", 0.5, "--seed", 7) == 0
    [path] = tmp_path.iterdir()
    slug = "a-red-ball-\u8d64\u3044-balls-on-and-on-on-and-on-on-and-on-on-and-on"
    assert path.name == f"longlive-{slug}-seed7.mp4"


def test_what_will_not_be_reached_is_named(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--at", 100, "a blue cube", "--at", 0.55, "the star jumps", "--json")
    assert run("generate", *short(tmp_path), *options) == 0
    captured = capsys.readouterr()
    assert "the prompt at 100 s is not reached: a blue cube" in captured.err
    assert [scene["text"] for scene in json.loads(captured.out)["not_reached"]] == [
        "the star jumps",
        "a blue cube",
    ]


def test_the_length_follows_the_storyboard_unless_it_is_given(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = '{"prompts": ["a red ball", "a blue cube", "the star jumps"]}\n{"prompts": ["a star"]}\n'
    (tmp_path / "story.JSONL").write_text(rows)
    options = ("--prompt", tmp_path / "story.JSONL", "--switch-every", 1, "--out", tmp_path / "v.mp4")
    assert run("generate", *options, "--json") == 0
    captured = capsys.readouterr()
    assert "line 0 of 2" in captured.err
    result = json.loads(captured.out)
    assert result["seconds"] == 3
    assert len(result["prompts"]) == 3 and result["not_reached"] == []


@pytest.mark.parametrize(
    ("name", "text", "prompts"),
    [
        (
            "pairs.jsonl",
            '{"source": "12", "prompt": "a red ball", "next": "a star"}\n',
            ["a red ball", "a star"],
        ),
        ("one.TXT", "\ufeffa red ball\r\n", ["a red ball"]),
        ("bom.json", '\ufeff{"prompts": ["a red ball", "a star"]}', ["a red ball", "a star"]),
    ],
)
def test_generate_reads_what_other_commands_and_editors_write(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, prompts: list[str]
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    options = ("--prompt", tmp_path / name, "--switch-every", 0.5, "--out", tmp_path / "v.mp4", "--json")
    assert run("generate", *options) == 0
    assert [prompt["text"] for prompt in printed(capsys)["prompts"]] == prompts


@pytest.fixture
def is_heard(number: signal.Signals) -> Iterator[None]:
    """Whoever runs the tests in a shell's background has made them deaf to interrupts."""
    before = signal.signal(number, signal.SIG_DFL)
    yield
    signal.signal(number, before)


@pytest.mark.usefixtures("is_heard")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("name", ["v.mp4", "v.gif"])
def test_an_interruption_keeps_the_video_and_the_session_file(
    run: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    status: int,
    name: str,
) -> None:
    make = Session.next_chunk

    def next_chunk(session: Session) -> Any:
        if session.num_chunks == 1:
            os.kill(os.getpid(), number)
        return make(session)

    monkeypatch.setattr(Session, "next_chunk", next_chunk)
    options = ("--prompt", "a red ball", "--seconds", 300, "--session", tmp_path / "s.json", "--json")
    assert run("generate", *options, "--out", tmp_path / name) == status
    result = printed(capsys)
    assert (result["stopped"], result["chunks"]) == (True, 2)
    assert len(json.loads((tmp_path / "s.json").read_text())["chunks"]) == 2
    assert pictures_in_any(tmp_path / name) >= 10
    assert {path.name for path in tmp_path.iterdir()} == {name, "s.json"}


@pytest.mark.parametrize("name", ["v.mp4", "v.webm", "v.gif"])
@pytest.mark.parametrize("made", [0, 2])
def test_an_error_keeps_the_video_and_the_session_file(
    run: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    made: int,
    name: str,
) -> None:
    make = Session.next_chunk

    def next_chunk(session: Session) -> Any:
        if session.num_chunks == made:
            raise FitError("There is no memory left.")
        return make(session)

    monkeypatch.setattr(Session, "next_chunk", next_chunk)
    options = ("--prompt", "a red ball", "--seconds", 300, "--session", tmp_path / "s.json")
    assert run("generate", *options, "--out", tmp_path / name) == 2
    told = capsys.readouterr()
    assert "There is no memory left." in told.err
    if not made:
        assert told.out == "" and not any(tmp_path.iterdir())
        return
    assert "2 chunks" in told.out and "stopped early by an error (300 s were asked for)" in told.out
    assert {path.name for path in tmp_path.iterdir()} == {name, "s.json"}
    assert pictures_in_any(tmp_path / name) >= 10
    monkeypatch.setattr(Session, "next_chunk", make)
    assert run("replay", tmp_path / "s.json", "--verify") == 0


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_result_can_be_printed_on_any_console(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    for more in ((), ("--json",)):
        console = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", console)
        path = tmp_path / "\u6620\u753b-\xe9.mp4"
        options = ("--prompt", "\u8d64\u3044 \U0001f600 \xe9 a red ball", "--seconds", 0.5)
        assert run("generate", *options, "--out", path, "--force", *more) == 0
        console.seek(0)
        text = console.read()
        if more:
            assert json.loads(text)["out"] == str(path)
        assert ".mp4" in text


def test_a_full_disk_behind_stdout_is_no_traceback(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w") as console:
        monkeypatch.setattr(sys, "stdout", console)
        assert run("generate", *short(tmp_path)) == 2
    assert "the result cannot be printed" in capsys.readouterr().err
    assert pictures_in_any(tmp_path / "v.mp4") == 8


def test_a_prompt_in_utf_8_is_read_in_any_locale(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = "赤い a red ball"
    as_read = prompt.encode().decode("ascii", "surrogateescape")
    options = ("--at", 0.1, as_read, "--seconds", 1, "--out", tmp_path / "v.mp4", "--json")
    assert run("generate", "--prompt", as_read, *options) == 0
    assert [event["text"] for event in printed(capsys)["prompts"]] == [prompt] * 2


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_in_the_temporary_folder(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if fails:
        make = Session.next_chunk

        def interrupted(session: Session) -> object:
            if session.num_chunks:
                raise KeyboardInterrupt
            return make(session)

        monkeypatch.setattr(Session, "next_chunk", interrupted)
    for device in ("/dev/null", "/dev/stdout"):
        run("generate", "--prompt", "a red ball", "--seconds", 1, "--out", device)
    assert not list(tmp_path.iterdir())


def test_a_session_is_remixed_with_another_model(
    run: Command, two_set_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = generate_and_save(run, tmp_path)
    assert main(["replay", str(session), "--model", str(two_set_folder)]) == 2
    assert "made with another model" in capsys.readouterr().err
    files = ("--out", tmp_path / "r.mp4", "--session", tmp_path / "r.json", "--scale", 2, "--json")
    options = list(map(str, (session, "--remix", *files, "--model", two_set_folder)))
    assert main(["replay", *options]) == 0
    shown = capsys.readouterr()
    assert "its digests of chunks are not compared" in shown.err
    made = json.loads(shown.out.strip().splitlines()[-1])
    assert (made["model"], made["seed"], made["seconds"]) == (str(two_set_folder), 7, 3.0)
    assert [(p["chunk"], p["text"], p["switch"]) for p in made["prompts"]] == [
        (0, "a red ball", None),
        (2, "a blue cube", "keep"),
    ]
    assert pictures_in(tmp_path / "r.mp4") == 48
    assert main(["replay", str(tmp_path / "r.json"), "--verify"]) == 0, (
        "the remix has a session file of its own"
    )


def test_a_video_has_the_size_that_was_asked_for_and_its_replay_and_remix_too(
    two_size_folder: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*options: object) -> int:
        return main(list(map(str, options)))

    def size() -> tuple[int, int]:
        return size_of(tmp_path / "v.mp4")

    session, out = tmp_path / "s.json", ("--out", tmp_path / "v.mp4", "--force")
    options = ("--prompt", "a red ball", "--seconds", 1, "--size", "32x48", "--session", session)
    assert run("generate", *options, *out, "--model", two_size_folder) == 0
    assert size() == (32, 48)
    assert run("replay", session, "--verify", *out) == 0
    assert size() == (32, 48)
    capsys.readouterr()
    remix = ("replay", session, "--remix", *out)
    assert run(*remix, "--model", two_size_folder) == 0
    assert size() == (32, 48) and "does not make" not in capsys.readouterr().err
    assert run(*remix, "--model", tiny_folder) == 0
    assert size() == (48, 32) and "does not make 32x48, so it makes 48x32" in capsys.readouterr().err
    record = json.loads(session.read_text()) | {"width": 64}
    session.write_text(json.dumps(record))
    assert run("replay", session, *out) == 2
    assert "have 64x48 pixels, but two-sizes makes 48x32 or 32x48 here" in capsys.readouterr().err


@pytest.mark.usefixtures("nothing_is_loaded")
def test_what_a_remix_is_not_is_refused(
    run: Command, tmp_path: Path, tiny_models: ModelBundle, capsys: pytest.CaptureFixture[str]
) -> None:
    with Session(tiny_models, "a red ball") as made:
        made.next_latents()
        made.save(tmp_path / "s.json")
    for options, words in (
        (("--remix", "--verify"), "--verify is True, but a remix is another video"),
        (("--session", tmp_path / "t.json"), "or give --remix"),
    ):
        assert run("replay", tmp_path / "s.json", *options) == 2
        assert words in capsys.readouterr().err


def test_a_lora_changes_the_video_and_its_session_file(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, lora = "blocks.0.self_attn.q", tmp_path / "style.safetensors"
    save_file({f"{name}.lora_A.weight": torch.ones(2, 24), f"{name}.lora_B.weight": torch.ones(24, 2)}, lora)
    session = generate_and_save(run, tmp_path, "--lora", f"{lora}=0.5")
    assert run("replay", session, "--verify") == 2
    assert "made with another model" in capsys.readouterr().err
    assert run("replay", session, "--verify", "--lora", lora) == 2, "the strength counts"
    assert run("replay", session, "--verify", "--lora", f"{lora}=0.5") == 0
    with pytest.raises(SystemExit):
        run("generate", "--prompt", "a red ball", "--lora", f"{lora}=much")
    assert "'much' is no number" in capsys.readouterr().err
