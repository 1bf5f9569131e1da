"""The parts of ``evaluate`` that compare systems, or score any video: Tables 1 to 3, drift, VBench."""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longlive.cli.common import print_note
from longlive.errors import ConfigError
from longlive.files import atomic_write, check_destination
from longlive.runtime.options import print_progress

if TYPE_CHECKING:
    from longlive.benchmark.systems.checkout_runs import Checkout
    from longlive.models.bundle import ModelBundle

STORIES = "assets/prompts/interactive_160x6.jsonl"
CHECKOUTS = ("nova", "pyramid-flow", "magi-1")


def add_kinds(kinds: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The parsers of ``evaluate WHAT`` for what this module runs."""
    _add_table1(kinds.add_parser("table1", help="throughput of LongLive and of the systems beside it"))
    for name, about in (
        ("table2", "stories of six prompts, a switch every ten seconds"),
        ("table3", "one prompt for 30 seconds"),
    ):
        _add_stories(kinds.add_parser(name, help=about), name)
    _add_drift(kinds.add_parser("drift", help="how similar videos or sessions stay to their first seconds"))
    standins = kinds.add_parser(
        "standins", help="how well the scores of pixels part good clips from broken ones"
    )
    standins.add_argument("--clips", type=int, default=40, help="clips of each kind (default: 40)")
    standins.add_argument("--seed", type=int, default=0, help="of the clips (default: 0)")
    standins.add_argument("--workers", type=int, default=2, help="processes of one thread each (default: 2)")
    _add_vbench(kinds.add_parser("vbench", help="VBench on a folder of videos, in an environment of its own"))
    for name in KINDS:
        parser = kinds.choices[name]
        parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
        parser.add_argument(
            "--out", type=Path, metavar="FILE", help="write the JSON object to a file as well"
        )


def _add_table1(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument("--device", help="cpu, cuda, … (default: cuda if there is one)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="to compute in")
    parser.add_argument(
        "--compile", choices=("off", "default", "graphs"), default="off", help="of the rows in our engine"
    )
    for name in CHECKOUTS:
        parser.add_argument(f"--{name}-repo", type=Path, help=f"folder of a checkout of {name}")
        parser.add_argument(f"--{name}-python", help="a Python with what it needs (default: this one)")


def _add_stories(parser: argparse.ArgumentParser, name: str) -> None:
    is_table2 = name == "table2"
    parser.add_argument(
        "--models",
        nargs="+",
        default=["storybook=storybook"],
        metavar="LABEL=MODEL",
        help="models to score (default: storybook=storybook)",
    )
    parser.add_argument("--prompts", type=int, default=8, help="how many stories (default: 8)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=10.0 if is_table2 else 30.0,
        help=f"of each prompt (default: {10 if is_table2 else 30})",
    )
    parser.add_argument("--stories", type=Path, default=Path(STORIES), help=f"JSONL (default: {STORIES})")
    parser.add_argument(
        "--clip", help="folder or Hub id of a CLIP model (default: the pinned one, if needed)"
    )
    parser.add_argument("--clip-revision", help="of a Hub id")
    parser.add_argument("--videos", type=Path, metavar="FOLDER", help="keep the videos")
    if not is_table2:
        parser.add_argument("--vbench-python", help="score them by VBench-Long as well, with this Python")
    parser.add_argument("--seed", type=int, default=0, help="of stories and noise (default: 0)")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each (default: 2)")


def _add_drift(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="videos, session files, or folders of videos"
    )
    parser.add_argument("--window", type=float, default=10.0, help="seconds of a window (default: 10)")
    parser.add_argument(
        "--reference", type=float, default=2.0, help="first seconds that all is compared with (default: 2)"
    )
    parser.add_argument("--figure", type=Path, help="draw the curves as well (PNG)")


def _add_vbench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="videos or folders")
    parser.add_argument("--vbench-python", help="Python of an environment with vbench")
    parser.add_argument(
        "--make-environment", type=Path, metavar="FOLDER", help="make such an environment, and end"
    )
    parser.add_argument("--dimensions", nargs="+", metavar="NAME", help="to score (default: all that apply)")
    parser.add_argument("--long", action="store_true", help="VBench-Long")
    parser.add_argument(
        "--standard", action="store_true", help="the videos are of VBench's own prompts, named as it asks"
    )


def run(args: argparse.Namespace) -> int:
    """Run ``evaluate WHAT``; 1 if something failed and the rest was kept."""
    if args.out:
        check_destination("--out", args.out)
    return KINDS[args.what](args)


def _table1(args: argparse.Namespace) -> int:
    from longlive.benchmark.systems.comparison import Comparison
    from longlive.benchmark.systems.facts import SYSTEMS
    from longlive.benchmark.systems.measurement import DEFINITIONS
    from longlive.runtime.allocator import configure_cpu
    from longlive.runtime.startup import RuntimeOptions

    names = args.systems or list(SYSTEMS)
    _check_table1(args, names, list(SYSTEMS))
    configure_cpu(1)
    weights = dict(_pair("--weights", text) for text in args.weights)
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
    about = {"tiny": args.tiny, "definitions": DEFINITIONS}
    rows: list[dict[str, Any]] = []
    for rows in comparison.rows():
        done = sum(len(row.get("fps_turns", ())) for row in rows)
        print_progress(f"{done} measurements")
        _write(args, about | {"rows": rows}, started)
    _finish(args, about | {"rows": rows}, started, _table1_text(rows))
    return 1 if any("error" in row for row in rows) else 0


def _check_table1(args: argparse.Namespace, names: Sequence[str], known: Sequence[str]) -> None:
    for name in [*names, *(text.partition("=")[0] for text in args.weights)]:
        if name not in known:
            raise ConfigError("--systems", name, f"the systems are {', '.join(known)}", "Correct the name.")
    for option, value in (("--repeats", args.repeats), ("--steps", args.steps)):
        if value < 1:
            raise ConfigError(option, value, "it must be at least 1", "Leave it out.")
    _check_seconds("--seconds", args.seconds)


def _checkout(args: argparse.Namespace, name: str, weights: str | None) -> "Checkout":
    from longlive.benchmark.systems.checkout_runs import Checkout

    option = name.replace("-", "_")
    repo: Path | None = getattr(args, f"{option}_repo")
    python = getattr(args, f"{option}_python") or sys.executable
    return Checkout(repo and repo.absolute(), python, weights)


def _table1_text(rows: Sequence[Mapping[str, Any]]) -> str:
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
    columns = {
        name: {title: cells[name] for title, cells in shown.items()} for name in next(iter(shown.values()))
    }
    notes = [f"{row['title']} needs {row['needs']}" for row in rows if "needs" in row]
    notes += [f"{row['title']} failed: {row['error']}" for row in rows if "error" in row]
    return "\n".join([table(columns), *notes, "Pictures per second; --json has the stages and definitions."])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _stories(args: argparse.Namespace) -> int:
    from longlive.evaluation.clip_score import PINNED
    from longlive.evaluation.experiments import interactive
    from longlive.generation.noise import check_seed
    from longlive.runtime.allocator import configure_cpu
    from longlive.weights.loading import load_models

    _check_stories(args)
    check_seed(args.seed)
    configure_cpu(1)
    started = time.perf_counter()
    names = dict(_pair("--models", text) for text in args.models)
    models = {label: load_models(name) for label, name in names.items()}
    num_prompts = 6 if args.what == "table2" else 1
    stories = {label: _stories_for(args, bundle, num_prompts) for label, bundle in models.items()}
    needs_clip = any(not interactive.draws_storybook(bundle) for bundle in models.values())
    clip = None
    if needs_clip:
        clip = (args.clip, args.clip_revision) if args.clip else PINNED
        interactive.scorer(*clip)  # before an hour of video is made
    if args.videos:
        args.videos.mkdir(parents=True, exist_ok=True)
    result = interactive.measure_stories(
        models,
        stories,
        segment_s=args.seconds,
        clip=clip,
        videos=args.videos,
        num_workers=args.workers,
    )
    if getattr(args, "vbench_python", None):
        result["vbench_long"] = _vbench_of_videos(args, list(models))
    about: dict[str, Any] = {
        "models": {label: {"name": m.config.name, "digest": m.digest} for label, m in models.items()}
    }
    about |= {"result": result, "definitions": interactive.DEFINITIONS}
    _finish(args, about, started, _stories_text(result))
    lost = [reason for found in result["runs"] for reason in found["videos_not_kept"]]
    for reason in lost:
        print_note(reason)
    return 1 if lost else 0


def _check_stories(args: argparse.Namespace) -> None:
    for option, value in (("--prompts", args.prompts), ("--workers", args.workers)):
        if value < 1:
            raise ConfigError(option, value, "it must be at least 1", "Leave it out.")
    if not 3 <= args.seconds <= 3600:
        raise ConfigError("--seconds", args.seconds, "a prompt lasts from 3 to 3600 seconds", "Leave it out.")
    if len({text.partition("=")[0] for text in args.models}) < len(args.models):
        raise ConfigError("--models", args.models, "no label may come twice", "Give each a label of its own.")
    if getattr(args, "vbench_python", None):
        from longlive.evaluation.vbench.runs import check_environment

        if args.videos is None:
            raise ConfigError(
                "--videos", None, "VBench reads files, so it must be a folder", "Try --videos out."
            )
        check_environment(args.vbench_python)


def _stories_for(args: argparse.Namespace, models: "ModelBundle", num_prompts: int) -> Any:
    from longlive.evaluation.experiments.interactive import drawn_stories, draws_storybook, read_stories

    if draws_storybook(models):
        return drawn_stories(args.prompts, args.seed, num_prompts)
    return read_stories(args.stories, args.prompts, args.seed, num_prompts)


def _vbench_of_videos(args: argparse.Namespace, labels: Sequence[str]) -> dict[str, Any]:
    from longlive.evaluation.vbench.runs import VBenchOptions, run_vbench

    options = VBenchOptions(args.vbench_python, long=True)
    return {
        label: run_vbench(sorted(args.videos.glob(f"{label}_*.mp4")), options, print_progress)
        for label in labels
    }


def _stories_text(result: Mapping[str, Any]) -> str:
    from longlive.evaluation.report import table

    columns: dict[str, dict[str, Any]] = {}
    for run in result["runs"]:
        rows = {
            f"segment {segment['segment']}, {name}": value
            for segment in run["segments"]
            for name, value in segment.items()
            if name != "segment" and not name.startswith("chance")
        }
        others = {
            name: value for name, value in run.items() if name not in ("model", "segments", "videos_not_kept")
        }
        columns[run["model"]] = rows | others
    return table(columns)


def _drift(args: argparse.Namespace) -> int:
    from longlive.evaluation import figures
    from longlive.evaluation.videos.drift_curve import DEFINITIONS, measure_curves
    from longlive.evaluation.videos.reading import find_files

    for option, value in (("--window", args.window), ("--reference", args.reference)):
        _check_seconds(option, value)
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
    _finish(args, {"result": result, "definitions": DEFINITIONS}, started, _drift_text(result))
    if args.figure and result["files"]:
        figures.draw_curves(result, args.figure)
    for one in result["failed"]:
        print_note(f"left out: {one['reason']}")
    return 1 if result["failed"] else 0


def _drift_text(result: Mapping[str, Any]) -> str:
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


def _standins(args: argparse.Namespace) -> int:
    from longlive.evaluation.experiments.standins import DEFINITIONS, judge_standins
    from longlive.runtime.allocator import configure_cpu

    if args.clips < 2:
        raise ConfigError("--clips", args.clips, "it must be at least 2", "Leave it out.")
    configure_cpu(1)
    started = time.perf_counter()
    result = judge_standins(num_clips=args.clips, seed=args.seed, num_workers=args.workers)
    _finish(args, {"result": result, "definitions": DEFINITIONS}, started, _standins_text(result))
    return 0


def _standins_text(result: Mapping[str, Any]) -> str:
    from longlive.evaluation.report import table

    columns = {
        f"{kind['kind']}, {part}": {name: found[part] for name, found in kind["defects"].items()}
        for kind in result["kinds"]
        for part in ("paired", "unpaired")
    }
    return (
        table(columns) + f"\n% better than broken; chance {result['chance']:g}, ceiling {result['ceiling']:g}"
    )


def _vbench(args: argparse.Namespace) -> int:
    from longlive.evaluation.vbench.runs import PACKAGE, VBenchOptions, make_environment, run_vbench
    from longlive.evaluation.vbench.scores import DEFINITIONS, QUALITY, SEMANTIC

    if args.make_environment:
        make_environment(args.make_environment)
        print(f"--vbench-python {args.make_environment / 'bin' / 'python'}")
        return 0
    if not args.vbench_python or not args.files:
        missing = "--vbench-python" if not args.vbench_python else "FILE"
        rule = f"it needs the Python of an environment with {PACKAGE}, and videos"
        raise ConfigError(missing, None, rule, "evaluate vbench --make-environment FOLDER makes one.")
    dimensions = args.dimensions or (QUALITY + SEMANTIC if args.standard else QUALITY)
    started = time.perf_counter()
    options = VBenchOptions(args.vbench_python, dimensions, long=args.long, standard=args.standard)
    result = run_vbench(args.files, options, print_progress)
    _finish(args, {"result": result, "definitions": DEFINITIONS}, started, _vbench_text(result))
    return 1 if result["failed"] or result["broken"] else 0


def _vbench_text(result: Mapping[str, Any]) -> str:
    lines = [f"{name:<24}{value:8.4f}" for name, value in result["scores"].items()]
    for group in ("quality", "semantic"):
        if result[group] is not None:
            partial = " (partial)" if result[f"{group}_is_partial"] else ""
            lines.append(f"{group:<24}{result[group]:8.4f}{partial}")
    lines += [f"{'total':<24}{result['total']:8.4f}"] if result["total"] is not None else []
    lines += [f"not scored: {name}: {reason}" for name, reason in result["failed"].items()]
    lines += [f"left out: {one['file']}: {one['reason']}" for one in result["broken"]]
    return "\n".join([*lines, *(f"note: {trap}" for trap in result["traps"])])


def _finish(args: argparse.Namespace, about: Mapping[str, Any], started: float, text: str) -> None:
    """Print the result: a table, or one JSON object as the last line; and write it where ``--out`` says."""
    result = _write(args, about, started)
    print(json.dumps(result) if args.json else text)


def _write(args: argparse.Namespace, about: Mapping[str, Any], started: float) -> dict[str, Any]:
    from longlive.evaluation.report import provenance

    result = provenance(args, time.perf_counter() - started) | dict(about)
    if args.out:
        try:
            with atomic_write(args.out) as part:
                part.write_text(json.dumps(result) + "\n", encoding="utf-8")
        except OSError as error:  # a full disk, say: what was measured is still printed
            print_note(f"{args.out} cannot be written ({error.strerror}), so the result is printed alone")
    return result


def _pair(option: str, text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name or not value:
        raise ConfigError(option, text, "it must be NAME=WHERE", f"Try {option} storybook=storybook.")
    return name, value


def _check_seconds(option: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(option, value, "it must be seconds above 0", "Leave it out.")


KINDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "table1": _table1,
    "table2": _stories,
    "table3": _stories,
    "drift": _drift,
    "standins": _standins,
    "vbench": _vbench,
}
