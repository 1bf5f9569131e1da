"""The parser and running a command: help, errors in one line, exit statuses."""

import subprocess
import sys

import pytest

from longlive.cli import main
from longlive.cli.main import COMMANDS
from tests.support.paths import ROOT


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
    "command",
    [*COMMANDS, "train dmd", "train storybook", "evaluate storybook", "evaluate long", "prompts check"],
)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([*command.split(), "--help"])
    assert left.value.code == 0
    assert len(capsys.readouterr().out) > 200


def test_help_is_quick_since_nothing_heavy_is_imported() -> None:
    probe = (
        "import sys, longlive.cli; assert not {'torch', 'transformers', 'gradio_client'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_unknown_command_or_option_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["make"], ["fetch", "storybook", "--colour"], ["train", "everything"]):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 2
        assert "usage: python -m longlive" in capsys.readouterr().err


def test_stopping_by_keyboard_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("longlive.weights.registry.find_model", stop)
    assert main(["fetch", "storybook"]) == 130
