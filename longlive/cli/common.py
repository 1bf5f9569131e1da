"""What several commands share: registering themselves, the stream's options, progress and results."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from longlive.config import Positions
from longlive.files import check_destination, check_distinct, is_stdout, unused_name
from longlive.runtime.options import print_progress

if TYPE_CHECKING:
    from longlive.chunks import FrameChunk
    from longlive.config import ModelConfig, StreamConfig
    from longlive.models.bundle import ModelBundle

FORCE_HELP = "replace files that exist (default: the new file gets a number, such as name-2.mp4)"


@dataclass(frozen=True)
class Command:
    """A subcommand of ``python -m longlive``.

    Attributes:
        name: as it is typed.
        help: one line for ``--help``.
        add_arguments: adds its options to a parser.
        run: does what the parsed options say, and returns the exit status.
    """

    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def add_stream_options(parser: argparse.ArgumentParser) -> None:
    """The options that become a StreamConfig; what is not given is as the model was tuned."""
    group = parser.add_argument_group("stream (default: what the model was tuned with)")
    group.add_argument("--window", type=int, help="latent frames attended to, sink included; -1 for all")
    group.add_argument("--sink", type=int, help="latent frames of the first chunk that are always kept")
    group.add_argument("--positions", choices=get_args(Positions), help="how latent frames are counted")


def stream_changes(args: argparse.Namespace) -> dict[str, Any]:
    """The stream options that were given."""
    given = {name: getattr(args, name) for name in ("window", "sink", "positions")}
    return {name: value for name, value in given.items() if value is not None}


def load_with_options(name: str, options: dict[str, Any]) -> "ModelBundle":
    """Load a model and make it ready to run, as the options of ``add_model_options`` say."""
    from longlive.runtime.startup import RuntimeOptions, ready_models

    return ready_models(name, RuntimeOptions.of(options), print_progress)


def with_progress(chunks: "Iterable[FrameChunk]", seconds: float) -> "Iterator[FrameChunk]":
    """Pass chunks on, and show a progress bar of ``seconds`` of video on stderr if it is a terminal."""
    from tqdm import tqdm

    with tqdm(total=round(seconds, 2), unit="s", disable=None, file=sys.stderr) as bar:
        for chunk in chunks:
            yield chunk
            bar.update(min(chunk.seconds, bar.total - bar.n))


def check_stream(model: str, changes: dict[str, Any]) -> "tuple[ModelConfig, StreamConfig]":
    """Check the stream options against a model before it is loaded; fetches it if need be.

    Returns:
        what the model is, and its stream with these options.

    Raises:
        ConfigError: if an option is impossible for the model.
        CheckpointError: if there is no such model.
    """
    from longlive.config import StreamConfig
    from longlive.weights.family import BUILT_IN
    from longlive.weights.layout import ModelFolder
    from longlive.weights.registry import find_model

    config = BUILT_IN.get(model) or ModelFolder.read(find_model(model, print_progress)).config
    return config, StreamConfig.of(config, **changes)


def shorten(text: str, most: int = 60) -> str:
    """The first characters of a text, for a message."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def free_path(path: Path, force: bool) -> Path:
    """Where to write a file that was asked for at ``path``; says so if that is beside one that exists."""
    unused = path if force else unused_name(path)
    if unused != path:
        print_note(f"{path} exists already and is kept, so {unused} is written; --force replaces it")
    return unused


def free_destinations(args: argparse.Namespace, options: Iterable[str], inputs: Iterable[Path] = ()) -> None:
    """Check the files that options name, and number those that exist, unless ``args.force`` replaces them.

    Args:
        args: the options' values are replaced by where to write.
        options: such as ``--out``; those that the command lacks, or that were not given, are passed over.
        inputs: files, or folders of files, that are read and must not be written over.

    Raises:
        ConfigError: if one cannot be written, or is an input or another option's file.
    """
    given = {option: getattr(args, option.removeprefix("--"), None) for option in options}
    files = [file for path in inputs for file in (path.iterdir() if path.is_dir() else [path])]
    check_distinct({f"the input {os.path.realpath(file)}": file for file in files} | given)
    for option, path in given.items():
        if path:
            check_destination(option, path)
            given[option] = free_path(path, args.force)
            setattr(args, option.removeprefix("--"), given[option])
    check_distinct(given)


def print_note(text: str) -> None:
    """Print something that people should know, though it is no error, on stderr."""
    print(f"longlive: {text}", file=sys.stderr)


def print_result(values: dict[str, Any], text: str, *, as_json: bool, beside: Path | None = None) -> None:
    """Print a result: one JSON object for programs, or ``text`` for people.

    Args:
        values, text: the result.
        as_json: which of them is printed.
        beside: a file that was written; if it is stdout itself, the result goes to stderr.
    """
    is_taken = beside is not None and is_stdout(beside)
    print(to_json(values) if as_json else text, file=sys.stderr if is_taken else sys.stdout)


def to_json(values: Any) -> str:
    """JSON in the characters that stdout can show; others as their escapes, so that it stays JSON."""
    text = json.dumps(values, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError, AttributeError):
        return json.dumps(values)
    return text
