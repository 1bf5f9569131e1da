"""The options are the same for every command, and their choices are those of config.py."""

import argparse
from pathlib import Path
from typing import get_args

import pytest

from longlive import config
from longlive.media import h264
from longlive.runtime.options import add_model_options, parse_with_environment
from longlive.runtime.startup import RuntimeOptions
from longlive.weights import layout
from longlive.weights.formats.lora_files import LoraFile


def parsed(*words: str, **options: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_model_options(parser, **options)  # type: ignore[arg-type]
    return parser.parse_args(words)


def test_the_choices_are_those_that_the_modules_know() -> None:
    assert tuple(layout.DECODERS) == get_args(config.DecoderName)
    assert set(h264.CODECS) == set(h264.SETTINGS) == set(get_args(config.EncoderName))


@pytest.mark.parametrize("name", ["dtype", "decoder", "compile", "attention", "quantize", "cache", "text"])
def test_a_value_that_no_module_knows_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(f"--{name}", "unknown")
    assert f"argument --{name}: invalid choice: 'unknown'" in capsys.readouterr().err


def test_silence_means_what_a_program_gets_that_says_nothing() -> None:
    assert RuntimeOptions.of(vars(parsed())) == RuntimeOptions()
    assert RuntimeOptions.of(vars(parsed(decoder="auto"))).decoder == "auto"
    assert parsed(model=None).model is None


def test_a_sweep_takes_several_words_of_each() -> None:
    args = parsed("--decoder", "wan", "tiny", "--quantize", "off", "int8", many=True)
    assert (args.decoder, args.quantize, args.compile, args.dtype) == (
        ["wan", "tiny"],
        ["off", "int8"],
        ["off"],
        None,
    )


def test_the_environment_speaks_where_the_command_line_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--share", action="store_true")
    parser.add_argument("--mcp", action="store_true")
    add_model_options(parser)
    for name, value in {"SHARE": "0", "MCP": "1", "DECODER": "tiny", "DTYPE": "float16"}.items():
        monkeypatch.setenv(f"LONGLIVE_{name}", value)
    args = parse_with_environment(parser, ["--dtype", "bfloat16"], prefix="LONGLIVE")
    assert (args.share, args.mcp, args.decoder, args.dtype) == (False, True, "tiny", "bfloat16")


def test_several_models_and_loras_are_lists(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "a.pt", tmp_path / "b c.pt"
    first.touch()
    second.touch()
    assert RuntimeOptions.of(vars(parsed("--lora", f"{first}=2", "--lora", str(second)))).lora == (
        LoraFile(first, 2.0),
        LoraFile(second),
    )
    parser = argparse.ArgumentParser()
    add_model_options(parser, several_models=True)
    assert parse_with_environment(parser, [], prefix="LONGLIVE").model == ["storybook"]
    monkeypatch.setenv("LONGLIVE_MODEL", "sgf 'my models/fox'")
    monkeypatch.setenv("LONGLIVE_LORA", f"{first} '{second}=0.5'")
    args = parse_with_environment(parser, [], prefix="LONGLIVE")
    assert (args.model, args.lora) == (["sgf", "my models/fox"], [LoraFile(first), LoraFile(second, 0.5)])
    line = ["--model", "causvid", "storybook", "--lora", str(second)]
    args = parse_with_environment(parser, line, prefix="LONGLIVE")
    assert (args.model, args.lora) == (["causvid", "storybook"], [LoraFile(second)])
    with pytest.raises(SystemExit):
        parse_with_environment(parser, ["--lora", f"{first}=x"], prefix="LONGLIVE")
    assert "argument --lora: --lora is" in capsys.readouterr().err


def test_a_sweep_has_no_lora() -> None:
    assert "lora" not in parsed(many=True)
