"""The command ``fetch``: a model on this machine, downloaded and converted, and where it lies."""

import argparse
import json
from pathlib import Path
from typing import Any

from longlive.cli.common import Command, print_result
from longlive.errors import ConfigError
from longlive.runtime.options import print_progress


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
    group.add_argument("--lora", type=Path, metavar="FILE", help="a LoRA to merge into the model")
    group.add_argument(
        "--lora-scale",
        type=float,
        help="what the LoRA is multiplied by (default: alpha / rank as its file states, or 1)",
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
    own = {"lora": args.lora, "lora_scale": args.lora_scale, "weights_key": args.weights_key}
    sources = RELEASED.get(args.model)
    if args.checkpoint:
        base = sources or LONGLIVE_SOURCES
        sources = sources_for_checkpoint(args.checkpoint, name=args.model, base=base, **own, **facts)
    elif facts:
        raise ConfigError("--set", args.set[0], "it needs --checkpoint", "Give the checkpoint, too.")
    elif any(value is not None for value in own.values()):
        sources = change_sources(args.model, sources, **own)
    if sources and args.dry_run:
        print_download_plan(sources, print_progress)
        return 0
    folder = assemble(sources, print_progress) if sources else find_model(args.model, print_progress)
    if args.verify:
        verify_digests(folder)
    print_result({"model": args.model, "folder": str(folder)}, str(folder), as_json=args.json)
    return 0


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
