"""The options of who may watch, for how long, and what is stored of their videos."""

import argparse
from typing import get_args

from longlive.config import ResumeMode
from longlive.serving.limits import Limits

# The fields of ``Limits`` that can be set, and what each is.
LIMITS = {
    "max_duration_s": "seconds that a video may be made for",
    "contended_duration_s": "seconds after which it stops if others wait",
    "heartbeat_timeout_s": "seconds of silence of its player after which a run is suspended",
    "disconnect_timeout_s": "seconds without a viewer after which a run is suspended",
    "retention_s": "seconds that a suspended or finished run is kept",
    "no_player_timeout_s": "seconds for programs that do not play",
    "max_pending_prompts": "prompts of a viewer that may wait",
    "prompts_per_minute": "prompts that a viewer may send",
    "max_queue_size": "runs that may wait for a slot",
    "max_runs_per_address": "runs of one address at once",
}


def add_viewer_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of viewers, their limits, and the store."""
    group = parser.add_argument_group("viewers")
    group.add_argument(
        "--store",
        help="folder where runs are stored, to be resumed after a restart (default: a temporary one)",
    )
    group.add_argument("--store-gb", type=float, default=20.0, help="size of the store (default: 20)")
    group.add_argument(
        "--resume",
        choices=get_args(ResumeMode),
        default="auto",
        help="how a run goes on after an interruption; auto: exactly, unless it is long (default: auto)",
    )
    for name, about in LIMITS.items():
        option, default = f"--{name.replace('_', '-')}", getattr(Limits, name)
        group.add_argument(
            option, type=type(default), default=default, help=f"{about} (default: {default:g})"
        )
