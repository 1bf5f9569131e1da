"""The command ``fetch``: a model on this machine, downloaded and converted, and where it lies."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from longlive.cli.common import Command, print_result
from longlive.errors import ConfigError
from longlive.runtime.options import add_lora_option, print_progress
from longlive.weights.formats.lora_files import LoraFile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fetch``."""
    parser.add_argument(
        "model",
        help="a known name, or a Hub id such as owner/name; with --checkpoint, a name of your choice, or a "
        "known name for its settings",
    )
    group = parser.add_argument_group(
        "another checkpoint of the family, such as a fine-tune; or a change to a known model"
    )
    group.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="safetensors or of torch.save; a file, the index of its parts, or their folder",
    )
    group.add_argument(
        "--weights-key",
        metavar="KEY",
        help="which transformer to take if the file holds several, such as generator or generator_ema "
        "(default: the one that its authors run)",
    )
    add_lora_option(group)
    group.add_argument(
        "--lora-scale",
        type=float,
        help="in place of alpha / rank, for each LoRA (default: as its file states, or 1)",
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FACT=VALUE",
        help="what differs from LongLive or that model, as in --set window=21 --set sink=0; may be repeated",
    )
    parser.add_argument("--dry-run", action="store_true", help="only print sizes and free space")
    parser.add_argument(
        "--verify", action="store_true", help="compare the model's files with their recorded digests"
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Fetch the model and print its folder."""
    from longlive.weights.assembly import assemble, print_download_plan
    from longlive.weights.family import RELEASED
    from longlive.weights.layout import verify_digests
    from longlive.weights.registry import find_model
    from longlive.weights.released import LONGLIVE_SOURCES, change_sources, sources_for_checkpoint

    facts = _facts(args.set)
    own = {"loras": _loras(args), "weights_key": args.weights_key}
    sources = RELEASED.get(args.model)
    if args.checkpoint:
        base = sources or LONGLIVE_SOURCES
        sources = sources_for_checkpoint(args.checkpoint, name=args.model, base=base, **own, **facts)
    elif facts:
        raise ConfigError("--set", args.set[0], "it needs --checkpoint", "Give the checkpoint, too.")
    elif any(own.values()):
        sources = change_sources(args.model, sources, **own)
    if sources and args.dry_run:
        print_download_plan(sources, print_progress)
        return 0
    folder = assemble(sources, print_progress) if sources else find_model(args.model, print_progress)
    if args.verify:
        verify_digests(folder)
    print_result({"model": args.model, "folder": str(folder)}, str(folder), as_json=args.json)
    return 0


def _loras(args: argparse.Namespace) -> list[LoraFile]:
    """The LoRAs to merge, with the scale that was given for them."""
    if args.lora_scale is not None and not args.lora:
        raise ConfigError("--lora-scale", args.lora_scale, "it needs --lora", "Give the LoRA, too.")
    return [replace(lora, scale=args.lora_scale) for lora in args.lora]


def _facts(settings: list[str]) -> dict[str, Any]:
    """Facts of a model as they are given on the command line; values are JSON, or text."""
    facts: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError("--set", setting, "it must be FACT=VALUE", "Try --set window=21.")
        try:
            facts[name] = json.loads(value)
        except ValueError:
            facts[name] = value
    return facts


COMMANDS = (Command("fetch", "download and convert a model, and print its folder", add_arguments, run),)
