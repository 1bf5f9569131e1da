"""The options of who may watch, for how long, and what is kept of their videos."""

import argparse

from longlive.serving.limits import Limits

# Option, what it is; the fields of ``Limits`` that may be chosen, with their usual values there.
LIMITS = {
    "longest_s": "seconds that a story may be told",
    "shared_s": "seconds after which it makes way if others wait",
    "idle_s": "seconds of silence of a player after which its story rests",
    "away_s": "seconds without a viewer after which a story rests",
    "grace_s": "seconds that a story is kept for a viewer who is away, or after its end",
    "unwatched_s": "seconds for programs that do not play",
    "queue": "prompts that may wait",
    "prompts_per_minute": "prompts that a viewer may send",
    "line": "stories that may wait for room",
    "per_address": "stories of one address at once",
}


def add_viewer_options(parser: argparse.ArgumentParser) -> None:
    """The options of who may watch, for how long, and what becomes of their stories."""
    group = parser.add_argument_group("viewers")
    group.add_argument(
        "--stories",
        help="folder where stories are kept, to be taken up after a restart (default: a temporary one)",
    )
    group.add_argument("--stories-gb", type=float, default=20.0, help="that stories may take (default: 20)")
    group.add_argument(
        "--resume",
        choices=("auto", "exact", "quick"),
        default="auto",
        help="how a story goes on after an interruption; auto: exactly, unless it is long (default: auto)",
    )
    for name, about in LIMITS.items():
        option, usual = f"--{name.replace('_', '-')}", getattr(Limits, name)
        group.add_argument(option, type=type(usual), default=usual, help=f"{about} (default: {usual:g})")
