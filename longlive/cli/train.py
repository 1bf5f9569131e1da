"""``python -m longlive train teacher | init | dmd | streaming`` and ``python -m longlive merge-lora``."""

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path

from longlive.errors import ConfigError
from longlive.runtime.allocator import configure_cpu
from longlive.training.recipe import STAGES, Recipe


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``train STAGE``."""
    parser.add_argument(
        "what",
        choices=[*STAGES, "storybook"],
        help="a stage; or storybook, the embedded model's whole recipe, which has its own --help",
    )
    parser.add_argument(
        "--config", required=True, help="name of a recipe in longlive/training/configs, or a .toml"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="change the recipe; may be repeated",
    )
    parser.add_argument("--folder", type=Path, help="checkpoints, logs, samples, model (default: runs/STAGE)")
    parser.add_argument("--steps", type=int, help="so many optimisation steps")
    parser.add_argument("--as-released", action="store_true", help="with every defect of the released code")
    parser.add_argument("--processes", type=int, default=1, help="start so many on this machine")
    parser.add_argument("--threads", type=int, default=1, help="of each process on a CPU")
    parser.add_argument(
        "--dry-run", action="store_true", help="count parameters, FLOPs and memory; train nothing"
    )
    parser.add_argument("--json", action="store_true", help="with --dry-run: print one JSON object")


def run_train(args: argparse.Namespace) -> int:
    """Train a stage, or say what it would take."""
    recipe = read_recipe(args)
    if args.dry_run:
        return _tell_plan(recipe, args)
    if args.processes > 1 and "WORLD_SIZE" not in os.environ:
        return _start(args.processes)

    from longlive.training.export import export
    from longlive.training.processes import Processes
    from longlive.training.setup import new_stage
    from longlive.training.trainer import Trainer

    configure_cpu(args.threads)
    processes = Processes.start()
    folder = args.folder or Path("runs") / args.what
    if processes.is_main:
        _tell_memory(recipe, args.what, processes.count)
    stage = new_stage(args.what, recipe, processes, folder=folder)
    trainer = Trainer(stage, recipe, folder, processes, name=args.what)
    trainer.run()
    export(stage, folder, is_main=processes.is_main)
    processes.wait()
    return 0


def add_merge_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``merge-lora``."""
    parser.add_argument(
        "--base", required=True, help="the model that the LoRA was trained on: name, folder or Hub id"
    )
    parser.add_argument("--lora", type=Path, required=True, help="lora.safetensors, or the released lora.pt")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model to write")
    parser.add_argument(
        "--scale", type=float, help="how much the LoRA counts (default: alpha / rank of the file)"
    )


def run_merge(args: argparse.Namespace) -> int:
    """Write the model with the LoRA in its weights."""
    from longlive.training.export import write_model
    from longlive.training.lora import read_lora
    from longlive.weights.loading import load_models
    from longlive.weights.lora import merge_lora

    lora, scale = read_lora(args.lora)
    models = load_models(args.base)
    scale = scale if args.scale is None else args.scale
    write_model(models, merge_lora(models.transformer.state_dict(), lora, scale), args.out)
    sys.stdout.write(f"{args.out}\n")
    return 0


def read_recipe(args: argparse.Namespace) -> Recipe:
    """The recipe that the options ask for."""
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


def _tell_plan(recipe: Recipe, args: argparse.Namespace) -> int:
    from longlive.training.plan import plan, told

    planned = plan(recipe, args.what)
    sys.stdout.write((json.dumps(planned) if args.json else told(planned)) + "\n")
    return 0


def _tell_memory(recipe: Recipe, stage: str, count: int) -> None:
    """What the run is about to take, before it starts."""
    from longlive.training.plan import plan, told

    run = dataclasses.replace(recipe.run, processes=count)
    sys.stderr.write(told(plan(dataclasses.replace(recipe, run=run), stage, has_flops=False)) + "\n")


def _start(count: int) -> int:
    """The same command in ``count`` processes of this machine."""
    from torch.distributed import run

    arguments = ["--standalone", f"--nproc-per-node={count}", "-m", "longlive", *sys.argv[1:]]
    run.main(arguments)
    return 0
