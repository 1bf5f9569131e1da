"""``evaluate standins``: how well the scores of pixels part good clips from broken ones."""

import argparse
import time
from collections.abc import Mapping
from typing import Any

from longlive.cli.common import Command
from longlive.cli.evaluate.common import add_result_options, finish_result
from longlive.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``evaluate standins``."""
    parser.add_argument("--clips", type=int, default=40, help="clips of each kind (default: 40)")
    parser.add_argument("--seed", type=int, default=0, help="of the clips (default: 0)")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each (default: 2)")
    add_result_options(parser)


def run(args: argparse.Namespace) -> int:
    """Score clips and the same clips broken."""
    from longlive.evaluation.experiments.standins import DEFINITIONS, judge_standins
    from longlive.runtime.allocator import configure_cpu

    for option, value, least in (("--clips", args.clips, 2), ("--workers", args.workers, 1)):
        if value < least:
            raise ConfigError(option, value, f"it must be at least {least}", "Leave it out.")
    configure_cpu(1)
    started = time.perf_counter()
    result = judge_standins(num_clips=args.clips, seed=args.seed, num_workers=args.workers)
    finish_result(args, {"result": result, "definitions": DEFINITIONS}, started, _text(result))
    return 0


def _text(result: Mapping[str, Any]) -> str:
    from longlive.evaluation.report import table

    columns = {
        f"{kind['kind']}, {part}": {name: found[part] for name, found in kind["defects"].items()}
        for kind in result["kinds"]
        for part in ("paired", "unpaired")
    }
    return (
        table(columns) + f"\n% better than broken; chance {result['chance']:g}, ceiling {result['ceiling']:g}"
    )


COMMANDS = (
    Command("standins", "how well the scores of pixels part good clips from broken ones", add_arguments, run),
)
