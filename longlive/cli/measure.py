"""The command ``measure``: what one viewer of a running app gets, in a real browser."""

import argparse
import json
import math
from dataclasses import asdict

from longlive.benchmark.loadtest.browser import (
    CHROMIUM,
    BrowserPlan,
    BrowserRecording,
    record_page,
    summarize,
)
from longlive.cli.common import Command
from longlive.errors import ConfigError, EndpointError

PLAYERS = ("live", "compatible")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``measure``."""
    parser.add_argument("url", help="of the running app, such as http://127.0.0.1:7860/")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to watch (default: 60)")
    parser.add_argument("--switches", type=int, default=10, help="prompts to send meanwhile (default: 10)")
    parser.add_argument("--player", choices=PLAYERS, help="only this player (default: one after the other)")
    parser.add_argument("--chromium", default=CHROMIUM, help=f"the browser (default: {CHROMIUM})")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    """Watch with each player and print the figures.

    Raises:
        ConfigError: if an option has an impossible value.
        EndpointError: if the page cannot be watched.
    """
    for name, least in (("seconds", 1.0), ("switches", 0)):
        if not least <= getattr(args, name) < math.inf:
            raise ConfigError(f"--{name}", getattr(args, name), f"it must be at least {least:g}", "Try 10.")
    plan = BrowserPlan(args.seconds, args.switches, chromium=args.chromium)
    results = [
        asdict(summarize(player, _watch(args.url, player, plan), plan.fps))
        for player in ([args.player] if args.player else PLAYERS)
    ]
    if args.json:
        print(json.dumps({result.pop("player"): result for result in results}))
    else:
        for name in results[0]:
            print(f"{name:22}" + "".join(f"{result[name]!s:>14}" for result in results))
    return 0


def _watch(url: str, player: str, plan: BrowserPlan) -> BrowserRecording:
    try:
        return record_page(url, player, plan)
    except Exception as error:
        if not type(error).__module__.startswith("playwright"):
            raise
        reason = str(error).splitlines()[0]
        raise EndpointError(
            f"the page at {url} cannot be watched with {plan.chromium}: {reason}. Start the app (app.py), "
            "or correct the address or --chromium."
        ) from error


COMMANDS = (
    Command("measure", "measure what one viewer of a running app gets, in a browser", add_arguments, run),
)
