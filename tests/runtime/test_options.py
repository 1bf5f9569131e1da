"""The options are the same for every command, and the words are those that the modules know."""

import argparse

import pytest

from longlive.media import h264 as encoders
from longlive.models import text_encoder as text
from longlive.runtime import attention_backends as backends
from longlive.runtime import compilation, quantization
from longlive.runtime.options import (
    ATTENTIONS,
    CACHES,
    COMPILE_MODES,
    DECODERS,
    ENCODERS,
    PLACEMENTS,
    QUANTIZATIONS,
    add_model_options,
    parse_with_environment,
)
from longlive.runtime.startup import _CACHES, RuntimeOptions
from longlive.weights import layout


def parsed(*words: str, **options: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_model_options(parser, **options)  # type: ignore[arg-type]
    return parser.parse_args(words)


def test_the_words_are_those_that_the_modules_know() -> None:
    assert COMPILE_MODES == compilation.MODES
    assert (backends.AUTO, *backends.NAMES) == ATTENTIONS
    assert ("auto", *layout.DECODERS) == DECODERS
    assert (encoders.AUTO, *encoders.CODECS) == ENCODERS
    assert QUANTIZATIONS == quantization.KINDS
    assert tuple(_CACHES) == CACHES
    assert set(PLACEMENTS[1:]) == set(text.SlotMapping.__args__)  # type: ignore[attr-defined]


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
