import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from longlive.cli.main import main
from longlive.weights.assembly import Recipe

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


def told(run: Command, folder: Path, *more: object) -> Path:
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
    told(run, tmp_path, "--switch", "hard", "--json")
    made = printed(capsys)
    assert made["prompts"] == [
        {"chunk": 0, "text": "a red ball", "switch": None},
        {"chunk": 2, "text": "a blue cube", "switch": "hard"},
    ]
    assert pictures_in(tmp_path / "v.mp4") == made["seconds"] * made["fps"] == 9 + 12 + 9 + 12 + 12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.json", "v.mp4"]


def test_generate_tells_a_storyboard(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = tmp_path / "stories.jsonl"
    board.write_text('{"prompts": ["a star"]}\n{"prompts": ["a red ball", "a blue cube"]}\n')
    told_by = ("--prompt", board, "--line", 1, "--switch-every", 1, "--seconds", 2)
    assert run("generate", *told_by, "--out", tmp_path / "v.mp4", "--json") == 0
    assert [(p["chunk"], p["text"]) for p in printed(capsys)["prompts"]] == [
        (0, "a red ball"),
        (2, "a blue cube"),
    ]


def test_replay_makes_the_same_video_again_and_verifies_it(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = told(run, tmp_path)
    capsys.readouterr()
    assert (
        main(["replay", str(session), "--verify", "--scale", "2", "--out", str(tmp_path / "again.mp4")]) == 0
    )
    assert "5 chunks, all as recorded" in capsys.readouterr().out
    assert pictures_in(tmp_path / "again.mp4") == pictures_in(tmp_path / "v.mp4")


def test_replay_verify_exits_1_and_names_the_first_chunk_that_differs(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = told(run, tmp_path)
    values = json.loads(session.read_text())
    values["chunks"][3] = "0" * 16
    session.write_text(json.dumps(values))
    capsys.readouterr()
    assert main(["replay", str(session), "--verify"]) == 1
    assert capsys.readouterr().out.strip() == "chunk 3 differs"
    assert main(["replay", str(session), "--json"]) == 0, "without --verify it is only told"
    assert printed(capsys)["first_difference"] == 3


def test_replay_rounds_as_the_story_was_rounded(
    run: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = told(run, tmp_path, "--quantize", "int8", "--cache", "fp8")
    assert json.loads(session.read_text())["quantization"] == "int8"
    assert main(["replay", str(session), "--verify"]) == 0
    plain = told(run, tmp_path)
    assert main(["replay", str(plain), "--quantize", "int8"]) == 2
    assert "another quantization: off; here it is int8" in capsys.readouterr().err


def test_a_story_with_another_prompt_does_not_verify(run: Command, tmp_path: Path) -> None:
    session = told(run, tmp_path)
    values = json.loads(session.read_text())
    values["prompts"][1]["text"] = "a red star"
    session.write_text(json.dumps(values))
    assert main(["replay", str(session), "--verify"]) == 1


def test_bench_ends_with_one_json_object_that_has_the_agreed_fields(
    run: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("bench", "--seconds", 8, "--switch-every", 2) == 0
    result = printed(capsys)
    agreed = """model device dtype decoder quantization height width frames fps_denoise fps_decode fps_encode
        fps_end_to_end first_frame_ms switch_ms_p50 switch_ms_p95 chunk_ms_p50 chunk_ms_p95 peak_memory_bytes
        git_revision versions"""
    assert set(agreed.split()) <= set(result)
    assert min(result[f"fps_{stage}"] for stage in ("denoise", "decode", "encode", "end_to_end")) > 0
    assert result["switch_ms_p50"] > 0


def test_count_prints_only_json_and_needs_no_weights(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for config in ("longlive.json", "transformer/config.json", "vae/config.json"):
        (tmp_path / config).parent.mkdir(exist_ok=True)
        (tmp_path / config).write_text((tiny_folder / config).read_text())
    assert main(["bench", "--count", "--model", str(tmp_path), "--dtype", "bfloat16", "--window", "6"]) == 0
    assert json.loads(capsys.readouterr().out)["kv_bytes"] == 2 * 2 * 6 * 6 * 24 * 2


def test_fetch_converts_a_checkpoint_under_a_name_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Recipe] = []
    monkeypatch.setattr(
        "longlive.weights.assembly.assemble", lambda recipe, tell: asked.append(recipe) or tmp_path
    )
    monkeypatch.setattr("longlive.weights.assembly.add_decoders", lambda *_: None)
    file = tmp_path / "self_forcing_dmd.pt"
    file.write_bytes(b"")
    options = (
        "--checkpoint",
        str(file),
        "--set",
        "window=21",
        "--set",
        "sink=0",
        "--set",
        "steps=[1000, 500]",
    )
    assert main(["fetch", "self-forcing", *options]) == 0
    config = asked[0].config
    assert (config.name, config.window, config.sink, config.steps) == ("self-forcing", 21, 0, (1000, 500))
    assert (asked[0].weights, asked[0].lora) == (file, None)
    assert capsys.readouterr().out.strip() == str(tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--checkpoint", "gone.pt"), "There is no file gone.pt"),
        (("--checkpoint", __file__, "--set", "window"), "--set is 'window', but it must be FACT=VALUE"),
        (("--checkpoint", __file__, "--set", "colour=1"), "the facts of a model are"),
        (("--checkpoint", __file__, "--set", "window=0"), "window is 0"),
    ],
)
def test_fetch_tells_what_is_wrong_with_a_checkpoint(
    options: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", "mine", *options]) == 2
    assert words in capsys.readouterr().err


def test_fetch_prints_where_a_model_lies(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", str(tiny_folder)]) == 0
    assert capsys.readouterr().out.strip() == str(tiny_folder)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fetch", "storybok"], "Did you mean 'storybook'"),
        (["replay", "gone.json"], "There is no session file gone.json"),
        (["generate", "--prompt", "  "], "The prompt is empty"),
        (["generate", "--prompt", "a", "--at", "5", ""], "The prompt is empty"),
        (["generate", "--prompt", "a", "--at", "soon", "b"], "--at is 'soon'"),
        (["generate", "--prompt", "gone.json"], "gone.json"),
        (["generate", "--prompt", "a", "--model", "no such model"], "There is no model"),
    ],
)
def test_an_error_is_one_line_on_stderr_and_exit_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("longlive: ")
    assert err.count("\n") == 1
    assert words in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--sink", 4), "sink is 4"),
        (("--window", 2), "window is 2"),
        (("--seed", -1), "seed is -1"),
        (("--seconds", 0), "seconds is 0"),
    ],
)
def test_an_impossible_option_is_told_and_leaves_no_file(
    run: Command, tmp_path: Path, options: tuple[object, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("generate", "--prompt", "a red ball", "--out", tmp_path / "v.mp4", *options) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command", ["generate", "replay", "bench", "fetch", "train", "merge-lora", "evaluate", "loadtest"]
)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    assert len(capsys.readouterr().out) > 200


def test_stopping_by_keyboard_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("longlive.weights.registry.find_model", stop)
    assert main(["fetch", "storybook"]) == 130
