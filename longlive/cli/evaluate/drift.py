"""``evaluate drift``: how similar videos or sessions stay to their first seconds."""

import argparse
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from longlive.cli.common import Command, print_note
from longlive.cli.evaluate.common import add_result_options, check_seconds, finish_result
from longlive.runtime.options import print_progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``evaluate drift``."""
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="videos, session files, or folders of videos"
    )
    parser.add_argument("--window", type=float, default=10.0, help="seconds of a window (default: 10)")
    parser.add_argument(
        "--reference", type=float, default=2.0, help="first seconds that all is compared with (default: 2)"
    )
    parser.add_argument("--figure", type=Path, help="draw the curves as well (PNG)")
    add_result_options(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and draw the curves; 1 if a file was left out."""
    from longlive.evaluation import figures
    from longlive.evaluation.videos.drift_curve import DEFINITIONS, measure_curves
    from longlive.evaluation.videos.reading import find_files

    for option, value in (("--window", args.window), ("--reference", args.reference)):
        check_seconds(option, value)
    if args.figure:
        figures.check_target(args.figure)
    started = time.perf_counter()
    paths = find_files(args.files)
    result = measure_curves(
        paths,
        window_s=args.window,
        reference_s=args.reference,
        progress=lambda path: print_progress(f"reading {path}"),
    )
    finish_result(args, {"result": result, "definitions": DEFINITIONS}, started, _text(result))
    if args.figure and result["files"]:
        figures.draw_curves(result, args.figure)
    for one in result["failed"]:
        print_note(f"left out: {one['reason']}")
    return 1 if result["failed"] else 0


def _text(result: Mapping[str, Any]) -> str:
    lines = ["file".ljust(40) + "first".rjust(8) + "last".rjust(8) + "drift".rjust(8) + "  minutes"]
    for one in result["files"]:
        first, last = one["windows"][0], one["windows"][-1]
        name = os.path.basename(one["file"])[-39:].ljust(40)
        numbers = "".join(
            f"{value:8.1f}" for value in (first["similarity"], last["similarity"], one["drift"])
        )
        lines.append(f"{name}{numbers}{(last['from_s'] + result['window_s']) / 60:9.1f}")
    if result["chance"] is not None:
        lines.append(f"of other videos (chance): {result['chance']:.1f}")
    return "\n".join(lines)


COMMANDS = (
    Command("drift", "how similar videos or sessions stay to their first seconds", add_arguments, run),
)
