"""The options by which a model is run, the same for the app and for every command.

Nothing heavy is imported here, so that ``--help`` is fast; ``startup.py`` does what the options say.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from typing import NamedTuple, get_args

from longlive.config import (
    AttentionName,
    CacheName,
    CompileMode,
    DecoderName,
    DType,
    EncoderName,
    Quantization,
    TextPlacement,
)
from longlive.errors import LongLiveError
from longlive.runtime.deprecated_options import replace_deprecated
from longlive.weights.formats.lora_files import LoraFile

AUTO = "auto"


class _Option(NamedTuple):
    name: str
    choices: tuple[str, ...]
    default: str | None
    help: str


_OPTIONS = (
    _Option("dtype", get_args(DType), None, "to compute in (default: bfloat16 on a GPU, float32 on a CPU)"),
    _Option(
        "decoder", (AUTO, *get_args(DecoderName)), "wan", "makes the pictures; auto: tiny if the model has it"
    ),
    _Option(
        "decoder-dtype",
        (AUTO, *get_args(DType)),
        AUTO,
        "of the decoder; auto: as --dtype, but bfloat16 on a CPU that has instructions for it",
    ),
    _Option(
        "compile",
        get_args(CompileMode),
        "off",
        "blocks compiled, passes as CUDA graphs, or blocks ahead of time",
    ),
    _Option(
        "attention", (AUTO, *get_args(AttentionName)), AUTO, "kernel; auto: the fastest that is installed"
    ),
    _Option("quantize", get_args(Quantization), "off", "matrix products of the blocks in 8 bits"),
    _Option("cache", get_args(CacheName), "full", "keys and values in full precision, or in 8 bits"),
    _Option("encoder", (AUTO, *get_args(EncoderName)), AUTO, "of H.264; auto: NVENC if the GPU has it"),
    _Option("text", (AUTO, *get_args(TextPlacement)), AUTO, "where the text encoder lies; auto: what fits"),
)
# What a sweep does not vary.
_SINGLE = ("text", "encoder", "decoder-dtype")


def add_model_options(
    parser: argparse.ArgumentParser,
    *,
    model: str | None = "storybook",
    decoder: str = "wan",
    many: bool = False,
    several_models: bool = False,
) -> None:
    """Add the options of the model, its device, its precision and its speed.

    Args:
        parser: of an app or a command.
        model, decoder: the defaults; a model of None stands for the one that a file names.
        many: whether options take several values, all combinations of which are run.
        several_models: whether ``--model`` takes several, and is a list.
    """
    group = parser.add_argument_group("model" + " (several values make a sweep)" * many)
    default_model = model or "the one that the file names"
    about = f"known name, folder or Hub id (default: {default_model})"
    if several_models:
        about = f"{about}; several are served together if they fit into the memory, else one at a time"
        group.add_argument("--model", default=[model], nargs="+", help=about)
    else:
        group.add_argument("--model", default=model, help=about)
    if not many:
        add_lora_option(group, nargs="+" if several_models else None)
    group.add_argument("--device", help="cpu, cuda, … (default: cuda if there is one)")
    for option in _OPTIONS:
        default = decoder if option.name == "decoder" else option.default
        about = option.help + f" (default: {default})" * (default is not None)
        if many and option.name not in _SINGLE:
            first = None if default is None else [default]
            group.add_argument(
                f"--{option.name}", choices=option.choices, default=first, nargs="+", help=about
            )
        else:
            group.add_argument(f"--{option.name}", choices=option.choices, default=default, help=about)
    # With two threads on two busy cores a chunk took 2.4 s instead of 0.4 s: they wait for each other.
    group.add_argument(
        "--threads", type=int, help="of torch on the CPU (default: 1, which suits small models)"
    )


def add_lora_option(parser: argparse._ActionsContainer, *, nargs: str | None = None) -> None:
    """Add ``--lora``, whose value is a list of LoraFile; a wrong file or strength is told while parsing."""
    about = "a LoRA to merge into the model, with its strength (default: 1); may be repeated"
    parser.add_argument(
        "--lora",
        type=_lora_file,
        metavar="FILE[=STRENGTH]",
        action="extend" if nargs else "append",
        nargs=nargs,
        default=[],
        help=about,
    )


def _lora_file(text: str) -> LoraFile:
    try:
        return LoraFile.parse(text)
    except LongLiveError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parse_with_environment(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None, *, prefix: str
) -> argparse.Namespace:
    """Parse the command line; what it leaves out is taken from the environment (``PREFIX_NAME``).

    A flag is set there by any value but the empty one and 0; several values are separated by spaces, and
    quoted as for a shell where they have some. Old names of options are replaced, with a warning. Exits with
    2 when a value is impossible.
    """
    defaults = vars(parser.parse_args([]))
    line = sys.argv[1:] if arguments is None else arguments
    line, environment = replace_deprecated(line, os.environ, options=defaults, prefix=prefix)
    from_environment: list[str] = []
    for name, default in defaults.items():
        value, option = environment.get(f"{prefix}_{name.upper()}", ""), f"--{name.replace('_', '-')}"
        if value and isinstance(default, list):
            if not any(one.partition("=")[0] == option for one in line):
                from_environment += [option, *shlex.split(value)]
        elif value and default is not False:
            from_environment.append(f"{option}={value}")
        elif value not in ("", "0"):
            from_environment.append(option)
    return parser.parse_args([*from_environment, *line])


def print_progress(line: str) -> None:
    """Write a line to stderr for whoever started the program."""
    sys.stderr.write(f"{line}\n")
