"""The engine that the options ask for: its carrier is a thread here or, on ZeroGPU, workers on lent GPUs."""

import argparse

from longlive.carriers import Carrier, ThreadCarrier
from longlive.checkpoints import ModelBundle
from longlive.engine import Engine
from longlive.errors import ConfigError
from longlive.options import say
from longlive.orders import Limits
from longlive.spool import stories_folder
from longlive.startup import Choices, start
from longlive.studio import Studio
from longlive.web import zerogpu

CARRIERS = ("thread", "zerogpu")


def add_carrier_options(parser: argparse.ArgumentParser) -> None:
    """The options of who makes the videos."""
    group = parser.add_argument_group("carrier")
    group.add_argument(
        "--carrier", choices=CARRIERS, help="makes the videos (default: zerogpu on such a Space, else thread)"
    )
    group.add_argument(
        "--lease-s",
        type=float,
        default=zerogpu.LEASE_S,
        help=f"ZeroGPU: seconds of a GPU to ask for at a time (default: {zerogpu.LEASE_S:.0f})",
    )
    group.add_argument(
        "--gpu-size",
        choices=tuple(zerogpu.MEMORY_BYTES),
        default="large",
        help="ZeroGPU: half a GPU, or a whole one that counts double (default: large)",
    )


def open_engine(options: argparse.Namespace) -> Engine:
    """The owner of all stories, over a carrier that is ready; errors as for ``open_carrier``."""
    limits = Limits.of(vars(options))
    carrier = open_carrier(options)
    folder = stories_folder(options.stories, options.port)
    engine = Engine(
        carrier, limits=limits, folder=folder, stories_bytes=options.stories_gb * 1e9, resume=options.resume
    )
    if isinstance(carrier, ThreadCarrier):  # elsewhere, this process has no GPU to watch
        engine.metrics.watch_gpu(carrier.studio.models.device)
    return engine


def open_carrier(options: argparse.Namespace) -> Carrier:
    """The carrier that was asked for, or that suits the place, ready for its first viewer.

    Raises:
        CheckpointError, ConfigError, FitError: as for ``startup.start``.
    """
    choices = Choices.of(vars(options))
    if (options.carrier or usual_carrier()) == "thread":
        return start(options.model, choices, say, prepare=_warm_thread)
    if not zerogpu.is_here():
        raise ConfigError("carrier", options.carrier, "this is no Space on ZeroGPU", "Use 'thread'.")
    return zerogpu.open_carrier(options.model, choices, say, lease_s=options.lease_s, size=options.gpu_size)


def usual_carrier() -> str:
    """The carrier of this place."""
    return "zerogpu" if zerogpu.is_here() else "thread"


def _warm_thread(models: ModelBundle) -> ThreadCarrier:
    carrier = ThreadCarrier(Studio(models))
    carrier.warm_up()
    return carrier
