"""``python -m longlive evaluate table4 | fig7 | tableA | tableB | long | teacher``."""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from longlive.errors import ConfigError
from longlive.runtime.allocator import configure_cpu

if TYPE_CHECKING:
    from longlive.models.bundle import ModelBundle

LEAST_PROMPTS = {"table4": 1, "fig7": 1, "tableA": 5, "tableB": 5, "long": 1, "teacher": 5}
"""A fifth of those of tables A and B and of a teacher must be combinations that training never saw."""


class Outcome(NamedTuple):
    """A result, its definitions, and its rows for people."""

    result: dict[str, Any]
    definitions: Mapping[str, str]
    rows: Mapping[str, Mapping[str, Any]]


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """The tables of the paper, each with its options; ``storybook`` is told of here and parsed by its own."""
    kinds = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    kinds.add_parser("storybook", help="how well the storybook model obeys its prompts")
    table4 = kinds.add_parser("table4", help="no cache, kept cache and recache at a prompt switch")
    _add_common(table4, prompts=48)
    table4.add_argument("--model", default="storybook", help="name, folder or Hub id")
    fig7 = kinds.add_parser("fig7", help="windows of 3 to 21 latents, with and without a sink")
    _add_common(fig7, prompts=4)
    fig7.add_argument("--model", default="storybook", help="name, folder or Hub id")
    fig7.add_argument("--seconds", type=float, default=20.0, help="length of each take")
    ranks = kinds.add_parser("tableA", help="LoRA ranks against full tuning")
    _add_common(ranks, prompts=40)
    told = "trained models; RANK is a number, 'full', or 'none' for the model before"
    ranks.add_argument("--runs", nargs="+", required=True, metavar="RANK=MODEL", help=told)
    precisions = kinds.add_parser("tableB", help="size, speed and quality per precision")
    _add_common(precisions, prompts=40)
    precisions.add_argument("--model", default="storybook", help="name, folder or Hub id")
    told = "float32, bfloat16, int8, fp8; the first is what the others are compared with"
    precisions.add_argument("--precisions", nargs="+", default=["float32", "int8"], help=told)
    precisions.add_argument("--chunks", type=int, default=16, help="of each take whose latents are compared")
    drift = kinds.add_parser("long", help="drift over minutes, with and without a sink")
    _add_common(drift, prompts=3)
    drift.add_argument("--models", nargs="+", default=["storybook=storybook"], metavar="LABEL=MODEL")
    drift.add_argument("--seconds", type=int, default=240, help="length of each take, a multiple of 10")
    teacher = kinds.add_parser("teacher", help="what the bidirectional teacher draws")
    _add_common(teacher, prompts=40)
    teacher.add_argument("--model", required=True, help="folder that train teacher wrote")
    teacher.add_argument("--guidance", type=float, nargs="+", default=[1.0, 4.0], help="1 is none")
    teacher.add_argument("--ode-steps", type=int, default=16, help="of Euler's method")
    for drawn in (table4, fig7, ranks, drift):
        drawn.add_argument("--figure", type=Path, help="draw it as well (PNG)")


def _add_common(parser: argparse.ArgumentParser, *, prompts: int) -> None:
    parser.add_argument("--prompts", type=int, default=prompts, help=f"stories (default: {prompts})")
    parser.add_argument("--seed", type=int, default=0, help="of the stories and the noise")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.set_defaults(run=run_table)


def run_table(args: argparse.Namespace) -> int:
    """Measure what was asked for, draw it if wanted, and print it."""
    from longlive.evaluation import figures, report
    from longlive.generation.noise import check_seed
    from longlive.weights.loading import load_models

    _check(args)
    check_seed(args.seed)
    if _figure(args):
        figures.check_target(args.figure)
    configure_cpu(1)
    begun = time.perf_counter()
    models = {label: load_models(name) for label, name in _named(args).items()}
    outcome = MEASURES[args.what](args, models)
    if _figure(args):
        _draw(args, models, outcome.result)
    if args.json:
        told = report.report(args, models, outcome.result, outcome.definitions, time.perf_counter() - begun)
        sys.stdout.write(json.dumps(told) + "\n")
    else:
        sys.stdout.write(report.table(outcome.rows) + "\n")
    return 0


def _draw(args: argparse.Namespace, models: "dict[str, ModelBundle]", result: dict[str, Any]) -> None:
    from longlive.evaluation import figures
    from longlive.evaluation.switches import SHOWN_SECONDS, picture_strips

    if args.what == "table4":
        trial, strips = picture_strips(models[args.model], seed=args.seed)
        figures.draw_strategies(trial, strips, SHOWN_SECONDS, args.figure)
        return
    draw = {"fig7": figures.draw_windows, "tableA": figures.draw_ranks, "long": figures.draw_drift}
    draw[args.what](result, args.figure)


def _figure(args: argparse.Namespace) -> Path | None:
    return getattr(args, "figure", None)


def _check(args: argparse.Namespace) -> None:
    least = LEAST_PROMPTS[args.what]
    if args.prompts < least:
        raise ConfigError("prompts", args.prompts, f"{args.what} needs {least}", f"Use at least {least}.")
    if args.what == "teacher" and (args.ode_steps < 1 or min(args.guidance) < 0):
        raise ConfigError("teacher", vars(args), "steps and guidance must be positive", "Correct them.")
    if args.workers < 1:
        raise ConfigError("workers", args.workers, "it must be at least 1", "Use the number of cores.")
    if args.what == "fig7" and args.seconds < 4:
        raise ConfigError("seconds", args.seconds, "a take needs a beginning and an end", "Use at least 4.")
    if args.what == "long" and (args.seconds < 20 or args.seconds % 10):
        rule = "it must be two or more windows of ten seconds"
        raise ConfigError("seconds", args.seconds, rule, "Use 240, as the paper does.")


def _named(args: argparse.Namespace) -> dict[str, str]:
    """The models asked for, by their labels."""
    if args.what in ("table4", "fig7", "tableB", "teacher"):
        return {args.model: args.model}
    option, pairs = ("--runs", args.runs) if args.what == "tableA" else ("--models", args.models)
    named = [_pair(option, pair) for pair in pairs]
    if len(dict(named)) < len(named):
        raise ConfigError(option, pairs, "every label must come once", "Name them apart.")
    return dict(named)


def _pair(option: str, text: str) -> tuple[str, str]:
    label, _, name = text.partition("=")
    if not label or not name:
        raise ConfigError(option, text, "it must be LABEL=MODEL", f"Try {option} before=runs/a after=runs/b.")
    return label, name


def _sizes(args: argparse.Namespace) -> dict[str, int]:
    return {"num_prompts": args.prompts, "seed": args.seed, "num_workers": args.workers}


def _table4(args: argparse.Namespace, models: "dict[str, ModelBundle]") -> Outcome:
    from longlive.evaluation.switches import DEFINITIONS, compare_strategies

    result = compare_strategies(models[args.model], **_sizes(args))
    order = {claim: "yes" if holds else "no" for claim, holds in result["order"].items()}
    rows = result["strategies"] | {"ceiling": result["ceiling"]} | result["differences"]
    return Outcome(result, DEFINITIONS, rows | {"recache": rows["recache"] | order})


def _fig7(args: argparse.Namespace, models: "dict[str, ModelBundle]") -> Outcome:
    from longlive.evaluation.windows import DEFINITIONS, compare_windows

    result = compare_windows(models[args.model], seconds=args.seconds, **_sizes(args))
    rows = {f"window {row['window']}, sink {row['sink']}": row for row in result["windows"]}
    return Outcome(result, DEFINITIONS, rows | {"ceiling": result["ceiling"]})


def _table_a(args: argparse.Namespace, models: "dict[str, ModelBundle]") -> Outcome:
    from longlive.evaluation.ranks import DEFINITIONS, compare_ranks

    result = compare_ranks(models, **_sizes(args))
    rows = {
        f"{run['rank']} {part}": {"trainable_parameters": run["trainable_parameters"]} | run[part]
        for run in result["runs"]
        for part in ("before", "after")
    }
    return Outcome(result, DEFINITIONS, rows)


def _table_b(args: argparse.Namespace, models: "dict[str, ModelBundle]") -> Outcome:
    from longlive.evaluation.precisions import DEFINITIONS, compare_precisions

    sizes = {"num_prompts": args.prompts, "num_chunks": args.chunks, "seed": args.seed}
    result = compare_precisions(args.model, args.precisions, **sizes)
    parts = ("before", "after", "ceiling")
    rows = {
        row["precision"]: {name: value for name, value in row.items() if name not in ("precision", *parts)}
        for row in result["precisions"]
    }
    scores = {
        f"{row['precision']} {part}": row[part]
        for row in result["precisions"]
        for part in parts[:2]
        if part in row
    }
    return Outcome(result, DEFINITIONS, rows | scores)


def _long(args: argparse.Namespace, models: "dict[str, ModelBundle]") -> Outcome:
    from longlive.evaluation.drift import DEFINITIONS, measure_drift

    result = measure_drift(models, seconds=args.seconds, **_sizes(args))
    rows: dict[str, Mapping[str, Any]] = {}
    for run in result["runs"]:
        name = f"{run['model']}, sink {run['sink']}"
        rows |= {f"{name}: first 10 s": run["windows"][0], f"{name}: last 10 s": run["windows"][-1]}
        rows[f"{name}: drift"] = run["drift"]
    return Outcome(result, DEFINITIONS, rows)


def _teacher(args: argparse.Namespace, models: "dict[str, ModelBundle]") -> Outcome:
    from longlive.evaluation.teachers import DEFINITIONS, score_teacher

    result = score_teacher(
        models[args.model],
        guidances=args.guidance,
        num_steps=args.ode_steps,
        num_prompts=args.prompts,
        seed=args.seed,
    )
    return Outcome(result, DEFINITIONS, {f"guidance {row['guidance']}": row for row in result["teachers"]})


MEASURES = {
    "table4": _table4,
    "fig7": _fig7,
    "tableA": _table_a,
    "tableB": _table_b,
    "long": _long,
    "teacher": _teacher,
}
