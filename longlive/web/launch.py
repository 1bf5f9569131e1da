"""From the app's options to an engine that is ready: who carries the stories, where they lie, what limits."""

import argparse
import os

from longlive.errors import ConfigError
from longlive.models.bundle import ModelBundle
from longlive.runtime.options import add_model_options, say
from longlive.runtime.startup import RuntimeOptions, start
from longlive.serving.engine import Engine
from longlive.serving.executors import zerogpu
from longlive.serving.executors.executor import Executor
from longlive.serving.executors.model_runner import ModelRunner
from longlive.serving.executors.thread import ThreadExecutor
from longlive.serving.limits import Limits
from longlive.serving.options import add_viewer_options
from longlive.serving.runs.run_store import store_folder
from longlive.web.file_serving import serve_from
from longlive.web.middleware.client_address import trust_proxies

EXECUTORS = ("thread", "zerogpu", "ray")


def add_serving_options(parser: argparse.ArgumentParser) -> None:
    """All options of the app."""
    host, port = usual_address()
    parser.add_argument("--host", default=host, help=f"address to listen on; 0.0.0.0: any (default: {host})")
    parser.add_argument("--port", default=port, type=int, help=f"port to listen on (default: {port})")
    parser.add_argument(
        "--player", default="live", choices=("live", "compatible"), help="unless the viewer chooses"
    )
    parser.add_argument("--share", action="store_true", help="also open a public link")
    parser.add_argument("--mcp", action="store_true", help="offer /generate as an MCP tool")
    group = parser.add_argument_group("carrier")
    group.add_argument(
        "--executor",
        choices=("auto", *EXECUTORS),
        default="auto",
        help="who makes the stories: threads of this process, ZeroGPU's workers, or Ray actors "
        "(default: zerogpu on such a Space, ray where RAY_ADDRESS is set, else thread)",
    )
    group.add_argument("--lease-s", type=float, default=40.0, help="zerogpu: seconds at a time (default: 40)")
    group.add_argument("--gpu-size", choices=("large", "xlarge"), default="large", help="zerogpu: of the GPU")
    group.add_argument("--actors", type=int, help="ray: how many (default: one per GPU, or per machine)")
    group.add_argument("--ray-address", help="ray: of the cluster's head (default: this machine alone)")
    add_viewer_options(parser)
    add_model_options(parser, decoder="auto")


def usual_address() -> tuple[str, int | str]:
    """Host and port to listen on where nobody says: Gradio's variables, then what Spaces needs, then here."""
    is_space = os.environ.get("SYSTEM") == "spaces"
    host = os.environ.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if is_space else "127.0.0.1")
    return host, os.environ.get("GRADIO_SERVER_PORT") or 7860


def trust_the_host() -> None:
    """A Space is reached through its host's proxies alone: their word on where a viewer is counts."""
    if os.environ.get("SYSTEM") == "spaces":
        trust_proxies()


def open_engine(options: argparse.Namespace) -> Engine:
    """The owner of all stories, over a carrier that is ready.

    Raises:
        LongLiveError: in words, if the model, the carrier or the folder of the stories cannot be had.
    """
    limits = Limits.of(vars(options))
    folder = store_folder(options.store, options.port)
    carrier = open_executor(options)
    size = options.store_gb * 1e9
    engine = Engine(carrier, limits=limits, folder=folder, max_store_bytes=size, resume=options.resume)
    serve_from(folder)
    if isinstance(carrier, ThreadExecutor):
        engine.metrics.watch_gpu(carrier.runner.models.device)
    return engine


def default_executor() -> str:
    """Who carries where nobody says."""
    if zerogpu.is_available():
        return "zerogpu"
    return "ray" if os.environ.get("RAY_ADDRESS") else "thread"


def open_executor(options: argparse.Namespace) -> Executor:
    """Who makes the videos, ready to begin; errors as for ``open_engine``."""
    name = default_executor() if options.executor == "auto" else options.executor
    choices = RuntimeOptions.of(vars(options))
    if name == "zerogpu":
        if not zerogpu.is_available():
            rule = "this is no Space with ZeroGPU hardware"
            raise ConfigError(
                "carrier", name, rule, "Use --carrier thread, or choose ZeroGPU in its settings."
            )
        return zerogpu.open_executor(
            options.model, choices, say, lease_s=options.lease_s, size=options.gpu_size
        )
    if name == "ray":
        from longlive.serving.executors.ray import RayExecutor

        carrier = RayExecutor(
            options.model, choices, actors=options.actors, address=options.ray_address, progress=say
        )
        carrier.warm_up()
        return carrier
    return start(options.model, choices, say, prepare=_warm_carrier)


def _warm_carrier(models: ModelBundle) -> ThreadExecutor:
    carrier = ThreadExecutor(ModelRunner(models))
    carrier.warm_up()
    return carrier
