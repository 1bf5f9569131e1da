"""How a model is run, asked in the same words by the app and by every command.

Nothing heavy is imported here, so that ``--help`` is quick; ``startup.py`` does what the options say.
"""

import argparse
import os
import sys
from collections.abc import Sequence

DTYPES = ("float32", "bfloat16", "float16")
DECODERS = ("auto", "wan", "tiny", "light")
COMPILE_MODES = ("off", "default", "graphs")
ATTENTIONS = ("auto", "flash3", "flash4", "cudnn", "sdpa", "sage")
QUANTIZATIONS = ("off", "int8", "fp8")
CACHES = ("full", "fp8")
ENCODERS = ("auto", "nvenc", "x264")
PLACEMENTS = ("auto", "resident", "streamed", "cpu")

# Option, its words, its default, what it is.
_CHOICES = (
    ("dtype", DTYPES, None, "to compute in (default: bfloat16 on a GPU, float32 on a CPU)"),
    ("decoder", DECODERS, "wan", "makes the pictures; auto: tiny where the model has one"),
    ("compile", COMPILE_MODES, "off", "blocks by torch.compile, passes as CUDA graphs"),
    ("attention", ATTENTIONS, "auto", "computes it; auto: the quickest that is there"),
    ("quantize", QUANTIZATIONS, "off", "products of the blocks in 8 bits"),
    ("cache", CACHES, "full", "keys and values as they are, or in 8 bits"),
    ("encoder", ENCODERS, "auto", "of the H.264 video; auto: NVENC where the GPU has it"),
    ("text", PLACEMENTS, "auto", "where the text encoder lies; auto: what fits"),
)


def add_model_options(
    parser: argparse.ArgumentParser,
    *,
    model: str | None = "storybook",
    decoder: str = "wan",
    many: bool = False,
) -> None:
    """The options of the model, its device, its precision and its speed.

    Args:
        parser: of an app or a command.
        model, decoder: what is taken unless it is told otherwise; None: what a file names.
        many: whether options may have several words, whose combinations are all run.
    """
    group = parser.add_argument_group("model" + " (several words make a sweep)" * many)
    told = model or "the one that the file names"
    group.add_argument("--model", default=model, help=f"known name, folder or Hub id (default: {told})")
    group.add_argument("--device", help="cpu, cuda, … (default: cuda if there is one)")
    for name, words, usual, about in _CHOICES:
        default = decoder if name == "decoder" else usual
        about += f" (default: {default})" * (default is not None)
        if many and name not in ("text", "encoder"):
            first = None if default is None else [default]
            group.add_argument(f"--{name}", choices=words, default=first, nargs="+", help=about)
        else:
            group.add_argument(f"--{name}", choices=words, default=default, help=about)
    # With two threads on two busy cores a chunk took 2.4 s instead of 0.4 s: they wait for each other.
    group.add_argument(
        "--threads", type=int, help="of torch on the CPU (default: 1, which suits small models)"
    )


def parse_with_environment(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None, *, prefix: str
) -> argparse.Namespace:
    """The options of the command line; where they are silent, of the environment (``PREFIX_NAME``).

    A flag is set there by any value but the empty one and 0. Exits with 2 when a value is impossible.
    """
    told: list[str] = []
    for name, usual in vars(parser.parse_args([])).items():
        value, option = os.environ.get(f"{prefix}_{name.upper()}", ""), f"--{name.replace('_', '-')}"
        if value and usual is not False:
            told.append(f"{option}={value}")
        elif value not in ("", "0"):
            told.append(option)
    return parser.parse_args([*told, *(sys.argv[1:] if arguments is None else arguments)])


def say(line: str) -> None:
    """Tell whoever started the program."""
    sys.stderr.write(f"{line}\n")
