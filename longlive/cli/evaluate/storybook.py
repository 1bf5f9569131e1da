"""What ``evaluate`` measures of models of the storybook: obedience, and the paper's tables at its scale."""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from longlive.cli.common import FORCE_HELP, Command
from longlive.cli.evaluate.common import split_pair
from longlive.errors import ConfigError

if TYPE_CHECKING:
    from longlive.models.bundle import ModelBundle

MAX_SECONDS = 3600
LEAST_PROMPTS = {"storybook": 5, "tableA": 5, "tableB": 5, "teacher": 5}
"""Where a fifth of the prompts are combinations that training never saw; elsewhere 1 is enough."""


class Outcome(NamedTuple):
    """A result, its definitions, and its rows for people."""

    result: dict[str, Any]
    definitions: Mapping[str, str]
    rows: Mapping[str, Mapping[str, Any]]


def _add_storybook(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    _add_common(parser, prompts=300)


def _add_table4(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, prompts=48)
    _add_model(parser)
    _add_figure(parser)


def _add_fig7(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, prompts=4)
    _add_model(parser)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each video (default: 20)")
    _add_figure(parser)


def _add_table_a(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, prompts=40)
    parser.add_argument(
        "--runs",
        nargs="+",
        required=True,
        metavar="RANK=MODEL",
        help="trained models; RANK is a number, 'full', or 'none' for the model before training",
    )
    _add_figure(parser)


def _add_table_b(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, prompts=40)
    _add_model(parser)
    parser.add_argument(
        "--precisions",
        nargs="+",
        default=["float32", "int8"],
        help="float32, bfloat16, int8, fp8; the others are compared with the first (default: float32 int8)",
    )
    parser.add_argument(
        "--chunks", type=int, default=16, help="chunks of each video whose latents are compared (default: 16)"
    )


def _add_long(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, prompts=3)
    parser.add_argument(
        "--models",
        nargs="+",
        default=["storybook=storybook"],
        metavar="LABEL=MODEL",
        help="models to compare (default: storybook=storybook)",
    )
    parser.add_argument(
        "--seconds", type=int, default=240, help="length of each video, a multiple of 10 (default: 240)"
    )
    _add_figure(parser)


def _add_teacher(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, prompts=40)
    parser.add_argument("--model", required=True, help="folder that train teacher wrote")
    parser.add_argument(
        "--guidance",
        type=float,
        nargs="+",
        default=[1.0, 4.0],
        help="guidance scales; 1 is none (default: 1 4)",
    )
    parser.add_argument("--ode-steps", type=int, default=16, help="steps of Euler's method (default: 16)")


def _add_starts(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, prompts=40)
    _add_model(parser)


def _add_figure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--figure", type=Path, help="draw the result as well (PNG)")
    parser.add_argument("--force", action="store_true", help=FORCE_HELP)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="storybook", help="name, folder or Hub id (default: storybook)")


def _add_common(parser: argparse.ArgumentParser, *, prompts: int) -> None:
    parser.add_argument("--prompts", type=int, default=prompts, help=f"how many stories (default: {prompts})")
    parser.add_argument("--seed", type=int, default=0, help="of the stories and the noise (default: 0)")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each (default: 2)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    """Measure what was asked for, draw it if wanted, and print it."""
    from longlive.generation.noise import check_seed
    from longlive.runtime.allocator import configure_cpu

    _check(args)
    check_seed(args.seed)
    if _figure(args):
        from longlive.evaluation import figures

        figures.check_target(args.figure)
    configure_cpu(1)
    return _evaluate_storybook(args) if args.what == "storybook" else _evaluate_table(args)


def _evaluate_table(args: argparse.Namespace) -> int:
    from longlive.evaluation import report
    from longlive.weights.loading import load_models

    started = time.perf_counter()
    models = {label: load_models(name) for label, name in _models(args).items()}
    outcome = MEASURES[args.what](args, models)
    if _figure(args):
        _draw(args, models, outcome.result)
    if args.json:
        seconds = time.perf_counter() - started
        print(json.dumps(report.report(args, models, outcome.result, outcome.definitions, seconds)))
    else:
        print(report.table(outcome.rows))
    return 0


def _evaluate_storybook(args: argparse.Namespace) -> int:
    from longlive.evaluation.obedience import evaluate_storybook
    from longlive.evaluation.third_edition import evaluate_third_edition, is_third_edition
    from longlive.weights.loading import load_models

    models = load_models(args.model)
    if is_third_edition(models):
        print(json.dumps(evaluate_third_edition(models, num_prompts=args.prompts, seed=args.seed)))
        return 0
    result = evaluate_storybook(models, num_prompts=args.prompts, seed=args.seed, num_workers=args.workers)
    print(json.dumps(result) if args.json else _storybook_table(result))
    return 0


def _storybook_table(result: dict[str, Any]) -> str:
    from longlive.evaluation.trials import ATTRIBUTES

    names = (*ATTRIBUTES, "one_subject")

    def line(label: str, values: Mapping[str, Any]) -> str:
        return label.ljust(26) + "".join(_percent(values.get(name)).rjust(13) for name in names)

    lines = ["".ljust(26) + "".join(name.rjust(13) for name in names)]
    for part in [key for key in result if key == "before" or key.startswith("after_")]:
        lines += [line(f"{part} {row}", values) for row, values in result[part].items()]
    lines.append(line("chance", result["chance"]))
    lines += [f"codec, {frames} pictures: {psnr} dB" for frames, psnr in result["codec_psnr_db"].items()]
    return "\n".join(lines)


def _percent(value: float | list[float] | None) -> str:
    """A share, or an interval, in %."""
    if isinstance(value, list):
        return f"[{100 * value[0]:.0f}, {100 * value[1]:.0f}]"
    return "" if value is None else f"{100 * value:.1f} %"


def _draw(args: argparse.Namespace, models: "dict[str, ModelBundle]", result: dict[str, Any]) -> None:
    from longlive.evaluation import figures
    from longlive.evaluation.experiments.switches import SHOWN_SECONDS, picture_strips

    if args.what == "table4":
        trial, strips = picture_strips(models[args.model], seed=args.seed)
        figures.draw_strategies(trial, strips, SHOWN_SECONDS, args.figure)
        return
    draw = {"fig7": figures.draw_windows, "tableA": figures.draw_ranks, "long": figures.draw_drift}
    draw[args.what](result, args.figure)


def _figure(args: argparse.Namespace) -> Path | None:
    return getattr(args, "figure", None)


def _check(args: argparse.Namespace) -> None:
    least = LEAST_PROMPTS.get(args.what, 1)
    if args.prompts < least:
        raise ConfigError("prompts", args.prompts, f"{args.what} needs {least}", f"Use at least {least}.")
    if args.what == "teacher" and (args.ode_steps < 1 or min(args.guidance) < 0):
        raise ConfigError("teacher", vars(args), "steps and guidance must be positive", "Correct them.")
    if args.workers < 1:
        raise ConfigError("workers", args.workers, "it must be at least 1", "Use the number of cores.")
    if args.what == "fig7" and not 4 <= args.seconds <= MAX_SECONDS:
        raise ConfigError("seconds", args.seconds, "it must be from 4 to 3600", "Use at least 4.")
    if args.what == "long" and (args.seconds < 20 or args.seconds % 10):
        rule = "it must be two or more windows of ten seconds"
        raise ConfigError("seconds", args.seconds, rule, "Use 240, as the paper does.")


def _models(args: argparse.Namespace) -> dict[str, str]:
    """The names of the models asked for, by their labels."""
    if args.what in ("table4", "fig7", "tableB", "teacher", "starts"):
        return {args.model: args.model}
    option, pairs = ("--runs", args.runs) if args.what == "tableA" else ("--models", args.models)
    named = [split_pair(option, pair) for pair in pairs]
    if len(dict(named)) < len(named):
        raise ConfigError(option, pairs, "no label may come twice", "Give each model a label of its own.")
    return dict(named)


def _sizes(args: argparse.Namespace) -> dict[str, int]:
    return {"num_prompts": args.prompts, "seed": args.seed, "num_workers": args.workers}


def _table4(args: argparse.Namespace, models: "dict[str, ModelBundle]") -> Outcome:
    from longlive.evaluation.experiments.switches import DEFINITIONS, compare_strategies

    result = compare_strategies(models[args.model], **_sizes(args))
    order = {claim: "yes" if holds else "no" for claim, holds in result["order"].items()}
    rows = result["strategies"] | {"ceiling": result["ceiling"]} | result["differences"]
    return Outcome(result, DEFINITIONS, rows | {"recache": rows["recache"] | order})


def _fig7(args: argparse.Namespace, models: "dict[str, ModelBundle]") -> Outcome:
    from longlive.evaluation.experiments.windows import DEFINITIONS, compare_windows

    result = compare_windows(models[args.model], seconds=args.seconds, **_sizes(args))
    rows = {f"window {row['window']}, sink {row['sink']}": row for row in result["windows"]}
    return Outcome(result, DEFINITIONS, rows | {"ceiling": result["ceiling"]})


def _table_a(args: argparse.Namespace, models: "dict[str, ModelBundle]") -> Outcome:
    from longlive.evaluation.experiments.ranks import DEFINITIONS, compare_ranks

    result = compare_ranks(models, **_sizes(args))
    rows = {
        f"{run['rank']} {part}": {"trainable_parameters": run["trainable_parameters"]} | run[part]
        for run in result["runs"]
        for part in ("before", "after")
    }
    return Outcome(result, DEFINITIONS, rows)


def _table_b(args: argparse.Namespace, models: "dict[str, ModelBundle]") -> Outcome:
    from longlive.evaluation.experiments.precisions import DEFINITIONS, compare_precisions

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
    from longlive.evaluation.experiments.drift import DEFINITIONS, measure_drift

    result = measure_drift(models, seconds=args.seconds, **_sizes(args))
    rows: dict[str, Mapping[str, Any]] = {}
    for run in result["runs"]:
        name = f"{run['model']}, sink {run['sink']}"
        rows |= {f"{name}: first 10 s": run["windows"][0], f"{name}: last 10 s": run["windows"][-1]}
        rows[f"{name}: drift"] = run["drift"]
    return Outcome(result, DEFINITIONS, rows)


def _teacher(args: argparse.Namespace, models: "dict[str, ModelBundle]") -> Outcome:
    from longlive.evaluation.experiments.teachers import DEFINITIONS, score_teacher

    result = score_teacher(
        models[args.model],
        guidances=args.guidance,
        num_steps=args.ode_steps,
        num_prompts=args.prompts,
        seed=args.seed,
    )
    return Outcome(result, DEFINITIONS, {f"guidance {row['guidance']}": row for row in result["teachers"]})


def _starts(args: argparse.Namespace, models: "dict[str, ModelBundle]") -> Outcome:
    from longlive.evaluation.experiments.starts import DEFINITIONS, compare_starts

    result = compare_starts(models[args.model], **_sizes(args))
    return Outcome(result, DEFINITIONS, {row["start"]: row for row in result["starts"]})


MEASURES = {
    "table4": _table4,
    "fig7": _fig7,
    "tableA": _table_a,
    "tableB": _table_b,
    "long": _long,
    "teacher": _teacher,
    "starts": _starts,
}

COMMANDS = (
    Command("storybook", "how well the storybook model obeys its prompts", _add_storybook, run),
    Command("table4", "no cache, kept cache and recache at a prompt switch", _add_table4, run),
    Command("fig7", "windows of 3 to 21 latents, with and without a sink", _add_fig7, run),
    Command("tableA", "LoRA ranks against full tuning", _add_table_a, run),
    Command("tableB", "size, speed and quality per precision", _add_table_b, run),
    Command("long", "drift over minutes, with and without a sink", _add_long, run),
    Command("teacher", "what the bidirectional teacher draws", _add_teacher, run),
    Command("starts", "videos that begin with a picture or go on from another video", _add_starts, run),
)
