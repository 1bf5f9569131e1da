"""The command ``evaluate``: what can be evaluated, each in the module that registers it."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from longlive.cli.common import Command, free_destinations
from longlive.cli.evaluate import drift, standins, stories, storybook, table1, vbench

KINDS = {
    kind.name: kind
    for module in (storybook, table1, stories, drift, standins, vbench)
    for kind in module.COMMANDS
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``evaluate WHAT``."""
    parsers = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for kind in KINDS.values():
        kind.add_arguments(parsers.add_parser(kind.name, help=kind.help))


def run(args: argparse.Namespace) -> int:
    """Run ``evaluate WHAT``; 1 if something failed and the rest was kept."""
    free_destinations(args, ("--out", "--figure"), _inputs(args))
    return KINDS[args.what].run(args)


def _inputs(args: argparse.Namespace) -> Iterator[Path]:
    """The files and folders that the options name as what is read."""
    yield from getattr(args, "files", ())
    if "stories" in args:
        yield args.stories
    for pair in (*getattr(args, "vbench", ()), *getattr(args, "weights", ())):
        if path := pair.partition("=")[2]:
            yield Path(path)


COMMANDS = (Command("evaluate", "score what a model generates", add_arguments, run),)
