"""The command ``loadtest``: many viewers at once on a running app, and what each of them got."""

import argparse

from longlive.benchmark.loadtest.browser import CHROMIUM
from longlive.cli.common import Command, to_json
from longlive.runtime.options import print_progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``loadtest``."""
    parser.add_argument("url", help="of the running app, such as http://127.0.0.1:7860/")
    parser.add_argument("--viewers", type=int, default=2, help="viewers at once (default: 2)")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="how long each of them watches (default: 60)"
    )
    parser.add_argument(
        "--browsers", type=int, default=0, help="how many of them are pages in Chromium (default: 0)"
    )
    parser.add_argument("--chromium", default=CHROMIUM, help=f"the browser (default: {CHROMIUM})")
    parser.add_argument(
        "--waiting",
        type=int,
        default=0,
        help="more viewers, who arrive once the others have their pictures (default: 0)",
    )
    parser.add_argument(
        "--waiting-seconds", type=float, default=10.0, help="how long each of those watches (default: 10)"
    )
    parser.add_argument(
        "--drops",
        type=int,
        default=0,
        help="more clients, who start a video and disconnect at once (default: 0)",
    )
    parser.add_argument(
        "--watchers", type=int, default=0, help="who watch the viewers' videos along (default: 0)"
    )
    parser.add_argument(
        "--watcher-browsers",
        type=int,
        default=0,
        help="how many of those are pages in Chromium (default: 0)",
    )
    parser.add_argument(
        "--switch-every", type=float, default=10.0, help="seconds between prompts (default: 10)"
    )
    parser.add_argument(
        "--patience", type=float, default=900.0, help="seconds until the test is ended (default: 900)"
    )
    parser.add_argument(
        "--read-every",
        type=int,
        default=1,
        help="check the pictures of one in this many segments; 0 for none (default: 1)",
    )
    parser.add_argument(
        "--room-voters", type=int, default=0, help="only those who vote in the app's room (default: 0)"
    )
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="how long those stay; the app may restart (default: 30)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    """Run the load test and print what the viewers got."""
    if args.room_voters:
        from longlive.benchmark.loadtest.voting.room_load import describe, run_room_load

        print(to_json(describe(run_room_load(args.url, args.room_voters, args.minutes, print_progress))))
        return 0
    from longlive.benchmark.loadtest.plan import Plan
    from longlive.benchmark.loadtest.report import as_json, table
    from longlive.benchmark.loadtest.runner import run_load_test

    plan = Plan(
        viewers=args.viewers,
        browsers=args.browsers,
        seconds=args.seconds,
        waiting=args.waiting,
        waiting_s=args.waiting_seconds,
        switch_every=args.switch_every,
        drops=args.drops,
        watchers=args.watchers,
        watcher_browsers=args.watcher_browsers,
        timeout_s=args.patience,
        read_every=args.read_every,
    )
    result = run_load_test(args.url, plan, chromium=args.chromium, progress=print_progress)
    print(to_json(as_json(result)) if args.json else table(result))
    return 0


COMMANDS = (Command("loadtest", "put many viewers on a running app", add_arguments, run),)
