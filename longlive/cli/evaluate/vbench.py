"""``evaluate vbench``: VBench on a folder of videos, in an environment of its own."""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from longlive.cli.common import Command
from longlive.cli.evaluate.common import add_result_options, finish_result
from longlive.errors import ConfigError
from longlive.runtime.options import print_progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``evaluate vbench``."""
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="videos or folders")
    parser.add_argument("--vbench-python", help="Python of an environment with vbench")
    add_repo(parser)
    parser.add_argument(
        "--make-environment", type=Path, metavar="FOLDER", help="make such an environment, and end"
    )
    parser.add_argument("--dimensions", nargs="+", metavar="NAME", help="to score (default: all that apply)")
    parser.add_argument("--long", action="store_true", help="VBench-Long")
    parser.add_argument(
        "--standard", action="store_true", help="the videos are of VBench's own prompts, named as it asks"
    )
    add_result_options(parser)


def add_repo(parser: argparse.ArgumentParser) -> None:
    """The option of a checkout, which VBench-Long needs: the package has it without its configs."""
    parser.add_argument(
        "--vbench-repo",
        type=Path,
        metavar="FOLDER",
        help="a checkout of github.com/Vchitect/VBench, used instead of the package's code; for VBench-Long",
    )


def run(args: argparse.Namespace) -> int:
    """Make the environment, or score the videos; 1 if a dimension or a file failed."""
    from longlive.evaluation.vbench.environment import PACKAGE, make_environment
    from longlive.evaluation.vbench.runs import VBenchOptions, run_vbench
    from longlive.evaluation.vbench.scores import DEFINITIONS, QUALITY, SEMANTIC

    if args.make_environment:
        print(f"--vbench-python {make_environment(args.make_environment, print_progress)}")
        return 0
    if not args.vbench_python or not args.files:
        missing = "--vbench-python" if not args.vbench_python else "FILE"
        rule = f"it needs the Python of an environment with {PACKAGE}, and videos"
        raise ConfigError(missing, None, rule, "evaluate vbench --make-environment FOLDER makes one.")
    dimensions = args.dimensions or (QUALITY + SEMANTIC if args.standard else QUALITY)
    started = time.perf_counter()
    options = VBenchOptions(
        args.vbench_python, dimensions, long=args.long, standard=args.standard, repo=args.vbench_repo
    )
    result = run_vbench(args.files, options, print_progress)
    finish_result(args, {"result": result, "definitions": DEFINITIONS}, started, _text(result))
    return 1 if result["failed"] or result["broken"] else 0


def _text(result: Mapping[str, Any]) -> str:
    lines = [f"{name:<24}{value:8.4f}" for name, value in result["scores"].items()]
    for group in ("quality", "semantic"):
        if result[group] is not None:
            partial = " (partial)" if result[f"{group}_is_partial"] else ""
            lines.append(f"{group:<24}{result[group]:8.4f}{partial}")
    lines += [f"{'total':<24}{result['total']:8.4f}"] if result["total"] is not None else []
    lines += [f"not scored: {name}: {reason}" for name, reason in result["failed"].items()]
    lines += [f"left out: {one['file']}: {one['reason']}" for one in result["broken"]]
    return "\n".join([*lines, *(f"note: {trap}" for trap in result["traps"])])


COMMANDS = (
    Command("vbench", "VBench on a folder of videos, in an environment of its own", add_arguments, run),
)
