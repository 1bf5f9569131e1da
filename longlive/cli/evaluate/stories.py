"""``evaluate table2`` and ``table3``: videos of several prompts, or of one, scored by CLIP or the oracle."""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longlive.cli.common import Command, print_note
from longlive.cli.evaluate.common import add_result_options, finish_result, split_pair, write_result
from longlive.cli.evaluate.vbench import add_repo
from longlive.errors import ConfigError, LongLiveError
from longlive.runtime.options import print_progress

if TYPE_CHECKING:
    from longlive.evaluation.vbench.runs import VBenchOptions
    from longlive.models.bundle import ModelBundle

STORIES = "assets/prompts/interactive_160x6.jsonl"


def _add_table2(parser: argparse.ArgumentParser) -> None:
    _add_options(parser, seconds=10)
    add_result_options(parser)


def _add_table3(parser: argparse.ArgumentParser) -> None:
    _add_options(parser, seconds=30)
    parser.add_argument("--vbench-python", help="score them by VBench-Long as well, with this Python")
    add_repo(parser)
    add_result_options(parser)


def _add_options(parser: argparse.ArgumentParser, *, seconds: int) -> None:
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
        default=float(seconds),
        help=f"of each prompt (default: {seconds})",
    )
    parser.add_argument("--stories", type=Path, default=Path(STORIES), help=f"JSONL (default: {STORIES})")
    parser.add_argument(
        "--clip", help="folder or Hub id of a CLIP model (default: the pinned one, if needed)"
    )
    parser.add_argument("--clip-revision", help="of a Hub id")
    parser.add_argument("--videos", type=Path, metavar="FOLDER", help="keep the videos")
    parser.add_argument("--seed", type=int, default=0, help="of stories and noise (default: 0)")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each (default: 2)")


def run(args: argparse.Namespace) -> int:
    """Make and score the videos; 1 if one could not be kept."""
    from longlive.evaluation.clip_score import PINNED
    from longlive.evaluation.experiments import interactive
    from longlive.generation.noise import check_seed
    from longlive.runtime.allocator import configure_cpu
    from longlive.weights.loading import load_models

    _check(args)
    check_seed(args.seed)
    configure_cpu(1)
    started = time.perf_counter()
    names = dict(split_pair("--models", text) for text in args.models)
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
    about: dict[str, Any] = {
        "models": {label: {"name": m.config.name, "digest": m.digest} for label, m in models.items()},
        "definitions": interactive.DEFINITIONS,
    }
    for result in interactive.measure_stories(
        models,
        stories,
        segment_s=args.seconds,
        clip=clip,
        videos=args.videos,
        num_workers=args.workers,
    ):
        about["result"] = result
        write_result(args, about, started)
    if getattr(args, "vbench_python", None):
        result["vbench_long"] = {label: _vbench_long(args, label) for label in models}
    finish_result(args, about, started, _text(result))
    lost = [reason for found in result["runs"] for reason in found["videos_not_kept"]]
    lost += [one["error"] for one in result.get("vbench_long", {}).values() if "error" in one]
    for reason in lost:
        print_note(reason)
    return 1 if lost else 0


def _check(args: argparse.Namespace) -> None:
    for option, value in (("--prompts", args.prompts), ("--workers", args.workers)):
        if value < 1:
            raise ConfigError(option, value, "it must be at least 1", "Leave it out.")
    if not 3 <= args.seconds <= 3600:
        raise ConfigError("--seconds", args.seconds, "a prompt lasts from 3 to 3600 seconds", "Leave it out.")
    if len({text.partition("=")[0] for text in args.models}) < len(args.models):
        raise ConfigError("--models", args.models, "no label may come twice", "Give each a label of its own.")
    if getattr(args, "vbench_python", None):
        if args.videos is None:
            raise ConfigError(
                "--videos", None, "VBench reads files, so it must be a folder", "Try --videos out."
            )
        from longlive.evaluation.vbench.runs import ready_environment

        ready_environment(_long_options(args))


def _stories_for(args: argparse.Namespace, models: "ModelBundle", num_prompts: int) -> Any:
    from longlive.evaluation.experiments.interactive import drawn_stories, draws_storybook, read_stories

    if draws_storybook(models):
        return drawn_stories(args.prompts, args.seed, num_prompts)
    return read_stories(args.stories, args.prompts, args.seed, num_prompts)


def _long_options(args: argparse.Namespace) -> "VBenchOptions":
    from longlive.evaluation.vbench.runs import VBenchOptions

    return VBenchOptions(args.vbench_python, long=True, repo=args.vbench_repo)


def _vbench_long(args: argparse.Namespace, label: str) -> dict[str, Any]:
    """What VBench-Long gives for the videos of a model, or why it gives nothing."""
    from longlive.evaluation.vbench.runs import run_vbench

    paths = [args.videos / f"{label}_{number:03}.mp4" for number in range(args.prompts)]
    try:
        return run_vbench([path for path in paths if path.exists()], _long_options(args), print_progress)
    except LongLiveError as error:
        return {"error": f"VBench-Long of {label}: {' '.join(str(error).split())}"}


def _text(result: Mapping[str, Any]) -> str:
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


COMMANDS = (
    Command("table2", "stories of six prompts, a switch every ten seconds", _add_table2, run),
    Command("table3", "one prompt for 30 seconds", _add_table3, run),
)
