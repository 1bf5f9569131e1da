"""The commands ``train`` (a stage, or the storybook model's whole recipe) and ``merge-lora``."""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longlive.cli.common import Command
from longlive.errors import ConfigError
from longlive.files import check_folder

if TYPE_CHECKING:
    from longlive.training.recipe import Recipe

STAGES = {
    "teacher": "train a bidirectional teacher on clean clips",
    "init": "initialise a causal student from the teacher's ODE",
    "dmd": "distribution matching distillation on short videos",
    "streaming": "streaming long tuning",
}
STORYBOOK_STAGES = ("codec", "clips", "generator", "decoder", "release", "words")


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``train WHAT``."""
    kinds = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for stage, about in STAGES.items():
        _add_stage_arguments(kinds.add_parser(stage, help=about))
    storybook = kinds.add_parser("storybook", help="the embedded model, from nothing to a release")
    _add_storybook_arguments(storybook)


def _add_stage_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", required=True, help="name of a recipe in longlive/training/configs, or a .toml file"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="change the recipe; may be repeated",
    )
    parser.add_argument(
        "--folder", type=Path, help="for checkpoints, logs, samples and the model (default: runs/STAGE)"
    )
    parser.add_argument("--steps", type=int, help="number of optimisation steps")
    parser.add_argument(
        "--as-released", action="store_true", help="reproduce every defect of the released code"
    )
    parser.add_argument("--processes", type=int, default=1, help="processes to start on this machine")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process on a CPU")
    parser.add_argument(
        "--dry-run", action="store_true", help="count parameters, FLOPs and memory; train nothing"
    )
    parser.add_argument("--json", action="store_true", help="with --dry-run: print one JSON object")


def _add_storybook_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--stages",
        nargs="+",
        choices=STORYBOOK_STAGES,
        default=list(STORYBOOK_STAGES),
        help="which stages to run, always in this order (default: all)",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("runs/storybook"),
        help="for checkpoints and logs (default: runs/storybook)",
    )
    parser.add_argument("--start-from", type=Path, help="continue training from the model in this folder")
    parser.add_argument("--out", type=Path, help="folder of the release (default: FOLDER/release)")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each (default: 2)")
    parser.add_argument("--seed", type=int, default=0, help="of data and training (default: 0)")
    parser.add_argument(
        "--codec-steps", type=int, default=3200, help="optimisation steps of the codec (default: 3200)"
    )
    parser.add_argument("--shards", type=int, default=80, help="shards of 40 clips each (default: 80)")
    parser.add_argument(
        "--generator-steps",
        type=int,
        default=1500,
        help="optimisation steps of the generator (default: 1500)",
    )
    parser.add_argument(
        "--decoder-steps", type=int, default=900, help="optimisation steps of the decoder (default: 900)"
    )
    parser.add_argument(
        "--words-steps",
        type=int,
        default=160,
        help='optimisation steps of the stage "words", which teaches paraphrases (default: 160)',
    )


def run_train(args: argparse.Namespace) -> int:
    """Train what was asked for."""
    return _train_storybook(args) if args.what == "storybook" else _train_stage(args)


def _train_stage(args: argparse.Namespace) -> int:
    """Train a stage, or print what it would take."""
    recipe = read_recipe(args)
    if args.dry_run:
        return _print_plan(recipe, args)
    if args.processes > 1 and "WORLD_SIZE" not in os.environ:
        return _start_processes(args.processes)

    from longlive.runtime.allocator import configure_cpu
    from longlive.storybook.sources import SOURCES
    from longlive.training.export import export
    from longlive.training.processes import Processes
    from longlive.training.setup import new_stage
    from longlive.training.trainer import Trainer

    configure_cpu(args.threads)
    processes = Processes.start()
    folder = args.folder or Path("runs") / args.what
    if processes.is_main:
        _print_memory(recipe, args.what, processes.count)
    stage = new_stage(args.what, recipe, processes, folder=folder, sources=SOURCES)
    trainer = Trainer(stage, recipe, folder, processes, name=args.what)
    trainer.run()
    export(stage, folder, is_main=processes.is_main)
    processes.wait()
    return 0


def read_recipe(args: argparse.Namespace) -> "Recipe":
    """The recipe that the options ask for."""
    from longlive.training.recipe import Recipe

    changes = {}
    for item in args.set:
        key, equals, value = item.partition("=")
        if not equals:
            raise ConfigError("--set", item, "it must be section.key=value", "Try --set run.steps=10.")
        changes[key.strip()] = value.strip()
    if args.steps is not None:
        changes["run.steps"] = str(args.steps)
    recipe = Recipe.read(args.config, args.what, changes)
    return recipe.as_released() if args.as_released else recipe


def _print_plan(recipe: "Recipe", args: argparse.Namespace) -> int:
    from longlive.training.cost.plan import format_plan, plan

    planned = plan(recipe, args.what)
    print(json.dumps(planned) if args.json else format_plan(planned))
    return 0


def _print_memory(recipe: "Recipe", stage: str, count: int) -> None:
    """Print on stderr what the run is about to take."""
    from longlive.training.cost.plan import format_plan, plan

    run = dataclasses.replace(recipe.run, processes=count)
    planned = plan(dataclasses.replace(recipe, run=run), stage, has_flops=False)
    print(format_plan(planned), file=sys.stderr)


def _start_processes(count: int) -> int:
    """Run this process's command again in ``count`` processes."""
    from torch.distributed import run

    run.main(["--standalone", f"--nproc-per-node={count}", "-m", "longlive", *sys.argv[1:]])
    return 0


def _train_storybook(args: argparse.Namespace) -> int:
    """Run the stages asked for; each resumes from its last checkpoint."""
    from longlive.storybook import paraphrases, release
    from longlive.storybook.workers import run_in_processes

    if args.workers < 1:
        raise ConfigError("workers", args.workers, "it must be at least 1", "Use the number of cores.")
    folder: Path = args.folder
    target = args.out or folder / "release"
    if "release" in args.stages:
        check_folder("--out", target, replaces=True)
    if args.start_from is not None:
        release.begin_from(args.start_from, folder, seed=args.seed)
    jobs = _storybook_jobs(args)
    for stage in sorted(args.stages, key=STORYBOOK_STAGES.index):
        if stage == "release":
            release.write_model(folder, target, seed=args.seed)
        elif stage == "words":
            paraphrases.train_paraphrases(target, steps=args.words_steps, seed=args.seed)
        else:
            run_in_processes(jobs[stage][0], args.workers, jobs[stage][1])
    return 0


def _storybook_jobs(args: argparse.Namespace) -> dict[str, tuple[Callable[..., None], dict[str, Any]]]:
    """The stages that several processes work on together, with the arguments of each."""
    from longlive.storybook import codec, dataset, generator

    folder: Path = args.folder
    common = {"folder": folder, "seed": args.seed}
    clips = {
        "folder": folder / "clips",
        "seed": args.seed,
        "num_shards": args.shards,
        "codec_folder": folder / "vae",
    }
    return {
        "codec": (codec.train_codec, common | {"steps": args.codec_steps}),
        "clips": (dataset.make_dataset, clips),
        "generator": (generator.train_generator, common | {"steps": args.generator_steps}),
        "decoder": (codec.train_decoder, common | {"steps": args.decoder_steps}),
    }


def add_merge_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``merge-lora``."""
    parser.add_argument(
        "--base", required=True, help="the model that the LoRA was trained on: name, folder or Hub id"
    )
    parser.add_argument("--lora", type=Path, required=True, help="file of the LoRA, or its folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new model")
    parser.add_argument(
        "--scale",
        "--lora-scale",
        type=float,
        help="what the LoRA is multiplied by (default: alpha / rank as its file states, or 1)",
    )


def run_merge(args: argparse.Namespace) -> int:
    """Write the model with the LoRA merged into its weights."""
    from longlive.runtime.options import print_progress
    from longlive.training.export import write_model
    from longlive.weights.formats.lora import describe_lora, merge_lora
    from longlive.weights.formats.lora_files import LoraFile
    from longlive.weights.formats.lora_reading import read_lora
    from longlive.weights.loading import load_models

    check_folder("--out", args.out)
    file = LoraFile(args.lora, scale=args.scale)
    lora = read_lora(file.path)
    print_progress(describe_lora(lora, file.scale))
    models = load_models(args.base)
    write_model(models, merge_lora(models.transformer.state_dict(), lora, file.scale), args.out)
    print(args.out)
    return 0


COMMANDS = (
    Command(
        "train", "train one stage of a model, or the whole storybook model", add_train_arguments, run_train
    ),
    Command("merge-lora", "merge a LoRA into a model's weights", add_merge_arguments, run_merge),
)
