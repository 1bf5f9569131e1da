"""What the parts of ``evaluate`` share: options of the result, writing it, and checks."""

import argparse
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from longlive.cli.common import FORCE_HELP, print_note
from longlive.errors import ConfigError
from longlive.files import atomic_write


def add_result_options(parser: argparse.ArgumentParser) -> None:
    """``--json``, ``--out`` and ``--force``."""
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON object to a file as well")
    parser.add_argument("--force", action="store_true", help=FORCE_HELP)


def finish_result(args: argparse.Namespace, about: Mapping[str, Any], started: float, text: str) -> None:
    """Print the result: a table, or one JSON object as the last line; and write it where ``--out`` says."""
    result = write_result(args, about, started)
    print(json.dumps(result) if args.json else text)


def write_result(args: argparse.Namespace, about: Mapping[str, Any], started: float) -> dict[str, Any]:
    """Write the result and its provenance where ``--out`` says; a full disk costs that file alone.

    Args:
        about: what was measured, and the definitions.
        started: when, by ``time.perf_counter``.
    """
    from longlive.evaluation.report import provenance

    result = provenance(args, time.perf_counter() - started) | dict(about)
    if args.out:
        try:
            with atomic_write(args.out) as part:
                part.write_text(json.dumps(result) + "\n", encoding="utf-8")
        except OSError as error:  # a full disk, say: what was measured is still printed
            print_note(f"{args.out} cannot be written ({error.strerror}), so the result is printed alone")
    return result


def split_pair(option: str, text: str) -> tuple[str, str]:
    """The two parts of ``NAME=WHERE``; ConfigError if one is missing."""
    name, _, value = text.partition("=")
    if not name or not value:
        raise ConfigError(option, text, "it must be NAME=WHERE", f"Try {option} storybook=storybook.")
    return name, value


def check_seconds(option: str, value: float) -> None:
    """Raise ConfigError unless a duration is finite and above 0."""
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(option, value, "it must be seconds above 0", "Leave it out.")
