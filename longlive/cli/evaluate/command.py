"""The command ``evaluate``: what can be evaluated, each in the module that registers it."""

import argparse

from longlive.cli.common import Command
from longlive.cli.evaluate import drift, standins, stories, storybook, table1, vbench
from longlive.files import check_destination

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
    if getattr(args, "out", None):
        check_destination("--out", args.out)
    return KINDS[args.what].run(args)


COMMANDS = (Command("evaluate", "score what a model generates", add_arguments, run),)
