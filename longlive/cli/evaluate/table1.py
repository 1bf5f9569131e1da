"""``evaluate table1``: throughput of LongLive and of the systems beside it."""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longlive.cli.common import Command
from longlive.cli.evaluate.common import (
    add_result_options,
    check_seconds,
    finish_result,
    split_pair,
    write_result,
)
from longlive.errors import ConfigError
from longlive.runtime.options import print_progress

if TYPE_CHECKING:
    from longlive.benchmark.systems.checkout_runs import Checkout

CHECKOUTS = ("nova", "pyramid-flow", "magi-1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``evaluate table1``."""
    parser.add_argument("--systems", nargs="+", metavar="NAME", help="rows to measure (default: all)")
    parser.add_argument("--tiny", action="store_true", help="every row at a tiny width, which a CPU can run")
    parser.add_argument("--repeats", type=int, default=3, help="turns of all rows (default: 3)")
    parser.add_argument(
        "--seconds", type=float, default=12.0, help="of video, measured of rows that stream (default: 12)"
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=4,
        help="denoising steps measured where a video takes minutes; the rest is extrapolated (default: 4)",
    )
    parser.add_argument("--no-count", action="store_true", help="do not count FLOPs at the published size")
    parser.add_argument(
        "--weights", nargs="+", default=[], metavar="NAME=WHERE", help="real weights; others are random"
    )
    parser.add_argument(
        "--vbench",
        nargs="+",
        default=[],
        metavar="NAME=FILE",
        help="what evaluate vbench --out wrote for videos of that row: for the columns of VBench",
    )
    parser.add_argument("--device", help="cpu, cuda, … (default: cuda if there is one)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="to compute in")
    parser.add_argument(
        "--compile", choices=("off", "default", "graphs"), default="off", help="of the rows in our engine"
    )
    for name in CHECKOUTS:
        parser.add_argument(f"--{name}-repo", type=Path, help=f"folder of a checkout of {name}")
        parser.add_argument(f"--{name}-python", help="a Python with what it needs (default: this one)")
    add_result_options(parser)


def run(args: argparse.Namespace) -> int:
    """Measure the rows in turns, and write the table after each; 1 if a row failed."""
    from longlive.benchmark.systems.comparison import Comparison
    from longlive.benchmark.systems.facts import SYSTEMS
    from longlive.benchmark.systems.measurement import DEFINITIONS
    from longlive.evaluation.vbench.scores import DEFINITIONS as VBENCH
    from longlive.runtime.allocator import configure_cpu
    from longlive.runtime.startup import RuntimeOptions

    names = args.systems or list(SYSTEMS)
    _check(args, names, list(SYSTEMS))
    configure_cpu(1)
    weights = dict(split_pair("--weights", text) for text in args.weights)
    vbench = _read_vbench(args.vbench)
    comparison = Comparison(
        names=names,
        options=RuntimeOptions(**{name: getattr(args, name) for name in ("device", "dtype", "compile")}),
        repeats=args.repeats,
        seconds=args.seconds,
        steps_measured=args.steps,
        tiny=args.tiny,
        count=not args.no_count,
        weights=weights,
        checkouts={name: _checkout(args, name, weights.get(name)) for name in CHECKOUTS},
    )
    started = time.perf_counter()
    if comparison.count:
        print_progress("counting FLOPs at the published sizes (--no-count leaves that out)")
    about = {"tiny": args.tiny, "definitions": DEFINITIONS | (VBENCH if vbench else {})}
    rows: list[dict[str, Any]] = []
    for measured in comparison.rows():
        rows = [row | {"vbench": vbench.get(row["name"])} for row in measured]
        done = sum(len(row.get("fps_turns", ())) for row in rows)
        print_progress(f"{done} measurements")
        write_result(args, about | {"rows": rows}, started)
    finish_result(args, about | {"rows": rows}, started, _text(rows))
    return 1 if any("error" in row for row in rows) else 0


def _check(args: argparse.Namespace, names: Sequence[str], known: Sequence[str]) -> None:
    for name in [*names, *(text.partition("=")[0] for text in (*args.weights, *args.vbench))]:
        if name not in known:
            raise ConfigError("--systems", name, f"the systems are {', '.join(known)}", "Correct the name.")
    for option, value in (("--repeats", args.repeats), ("--steps", args.steps)):
        if value < 1:
            raise ConfigError(option, value, "it must be at least 1", "Leave it out.")
    check_seconds("--seconds", args.seconds)


def _read_vbench(pairs: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The totals of VBench by row, from the files that ``evaluate vbench --out`` wrote."""
    from longlive.evaluation.vbench.scores import read_totals

    named = [split_pair("--vbench", pair) for pair in pairs]
    return {name: read_totals("--vbench", Path(path)) for name, path in named}


def _checkout(args: argparse.Namespace, name: str, weights: str | None) -> "Checkout":
    from longlive.benchmark.systems.checkout_runs import Checkout

    option = name.replace("-", "_")
    repo: Path | None = getattr(args, f"{option}_repo")
    python = getattr(args, f"{option}_python") or sys.executable
    return Checkout(repo and repo.absolute(), python, weights)


def _text(rows: Sequence[Mapping[str, Any]]) -> str:
    from longlive.evaluation.report import table

    shown: dict[str, dict[str, str]] = {}
    for row in rows:
        fps, ratio = row.get("fps") or {}, row.get("ratio") or {}
        counted = row.get("counted") or {}
        shown[row["title"]] = {
            "end to end": _number(fps.get("end_to_end")),
            "without text, H.264": _number(fps.get("denoise_decode")),
            "by LongLive's": "" if not ratio else f"{ratio['median']} [{ratio['least']}, {ratio['most']}]",
            "paper": _number(row["paper_fps"]),
            "TFLOP a picture": _number(counted.get("tflop_picture")),
            "pictures": _number(row.get("pictures")),
            "": "extrapolated" if row.get("extrapolated") else "",
        }
        if row["vbench"]:
            shown[row["title"]] |= _vbench_cells(row["vbench"])
    names = dict.fromkeys(name for cells in shown.values() for name in cells)
    columns = {name: {title: cells.get(name, "") for title, cells in shown.items()} for name in names}
    notes = [f"{row['title']} needs {row['needs']}" for row in rows if "needs" in row]
    notes += [f"{row['title']} failed: {row['error']}" for row in rows if "error" in row]
    return "\n".join([table(columns), *notes, "Pictures per second; --json has the stages and definitions."])


def _vbench_cells(totals: Mapping[str, Any]) -> dict[str, str]:
    return {
        f"VBench {name}": _number(totals[name]) + (" (partial)" if totals.get(f"{name}_is_partial") else "")
        for name in ("total", "quality", "semantic")
    }


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


COMMANDS = (Command("table1", "throughput of LongLive and of the systems beside it", add_arguments, run),)
