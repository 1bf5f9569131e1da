"""The app's options, and the engine that they describe: executor, store and limits."""

import argparse
import importlib.util
import os

from longlive.errors import ConfigError
from longlive.models.bundle import ModelBundle
from longlive.network import check_address
from longlive.runtime.options import add_model_options, print_progress
from longlive.runtime.startup import RuntimeOptions, start
from longlive.serving.engine import Engine
from longlive.serving.executors import zerogpu
from longlive.serving.executors.executor import Executor
from longlive.serving.executors.model_runner import ModelRunner
from longlive.serving.executors.thread import ThreadExecutor
from longlive.serving.limits import Limits
from longlive.serving.options import add_viewer_options
from longlive.serving.runs.store.store_folder import StoreFolder, remove_stale_folders, store_folder
from longlive.training.data.chat_models import ChatModel, EndpointChat
from longlive.web.file_serving import serve_from

EXECUTORS = ("thread", "zerogpu", "ray")


def add_serving_options(parser: argparse.ArgumentParser) -> None:
    """Add all options of the app."""
    host, port = usual_address()
    parser.add_argument(
        "--host", default=host, help=f"address to listen on; 0.0.0.0 for all (default: {host})"
    )
    parser.add_argument("--port", default=port, type=int, help=f"port to listen on (default: {port})")
    parser.add_argument(
        "--player",
        default="live",
        choices=("live", "compatible"),
        help="player of the page; a viewer can change it (default: live)",
    )
    parser.add_argument("--share", action="store_true", help="also create a public link")
    parser.add_argument("--mcp", action="store_true", help="offer /generate as an MCP tool")
    group = parser.add_argument_group("executor")
    group.add_argument(
        "--executor",
        choices=("auto", *EXECUTORS),
        default="auto",
        help="what generates the videos: threads of this process, ZeroGPU workers, or Ray actors "
        "(default: zerogpu on a ZeroGPU Space, ray if RAY_ADDRESS is set, else thread)",
    )
    group.add_argument("--lease-s", type=float, default=40.0, help="zerogpu: seconds per lease (default: 40)")
    group.add_argument("--gpu-size", choices=("large", "xlarge"), default="large", help="zerogpu: GPU size")
    group.add_argument("--actors", type=int, help="ray: number of actors (default: one per GPU, or per node)")
    group.add_argument("--ray-address", help="ray: address of the head node (default: a local cluster)")
    group = parser.add_argument_group("prompts")
    group.add_argument(
        "--prompt-endpoint",
        help="OpenAI-compatible server that completes viewers' prompts, such as http://localhost:8000/v1 "
        "(default: plain rules)",
    )
    group.add_argument("--prompt-model", help="name of the language model at that server")
    group.add_argument("--prompt-key-env", help="environment variable that holds its API key")
    add_viewer_options(parser)
    add_model_options(parser, decoder="auto")


def usual_address() -> tuple[str, int | str]:
    """Default host and port: Gradio's environment variables, then what Spaces needs, then this machine."""
    is_space = os.environ.get("SYSTEM") == "spaces"
    host = os.environ.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if is_space else "127.0.0.1")
    return host, os.environ.get("GRADIO_SERVER_PORT") or 7860


def open_engine(options: argparse.Namespace) -> Engine:
    """The engine over an executor that is loaded and warm; what is quick to check comes first.

    Raises:
        LongLiveError: if nothing can listen at the address, the store cannot be opened or is in use, the
        model cannot be loaded, or the executor cannot start.
    """
    limits = Limits.of(vars(options))
    _check_options(options)
    check_address(options.host, options.port)
    folder = StoreFolder(store_folder(options.store, options.port), keep=options.store is not None)
    remove_stale_folders()
    executor = open_executor(options)
    size = options.store_gb * 1e9
    engine = Engine(executor, limits=limits, folder=folder, max_store_bytes=size, resume=options.resume)
    serve_from(engine.folder)
    if isinstance(executor, ThreadExecutor):
        engine.metrics.watch_gpu(executor.runner.models.device)
    return engine


def _check_options(options: argparse.Namespace) -> None:
    """ConfigError if an option of the app has an impossible value, or needs a package that is not there."""
    for name in ("store_gb", "lease_s", "actors"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(option, value, "it must be above 0", "Leave it out for the default.")
    if options.mcp and importlib.util.find_spec("mcp") is None:
        rule = "it needs a package that is not installed"
        raise ConfigError("--mcp", True, rule, 'Run pip install "gradio[mcp]", or leave it out.')


def prompt_writer(options: argparse.Namespace) -> ChatModel | None:
    """The language model that completes prompts; None if the options name none.

    Raises:
        ConfigError: if only a part of what it needs is given, or the address is none.
    """
    url, model, variable = options.prompt_endpoint, options.prompt_model, options.prompt_key_env
    if bool(url) != bool(model):
        came = {"--prompt-endpoint": url, "--prompt-model": model}
        raise ConfigError("the language model", came, "both are needed", "Give both, or leave both out.")
    if variable and not os.environ.get(variable):
        raise ConfigError("--prompt-key-env", variable, "no such variable is set", "Set it to the key.")
    key = os.environ.get(variable, "") if variable else ""
    return EndpointChat(url, model, key=key, timeout_s=20, tries=1) if url else None


def default_executor() -> str:
    """The executor of ``--executor auto``: ``zerogpu``, ``ray`` or ``thread``."""
    if zerogpu.is_available():
        return "zerogpu"
    return "ray" if os.environ.get("RAY_ADDRESS") else "thread"


def open_executor(options: argparse.Namespace) -> Executor:
    """The executor that the options name, loaded and warm.

    Raises:
        LongLiveError: if the model cannot be loaded, or the executor cannot start here.
    """
    name = default_executor() if options.executor == "auto" else options.executor
    runtime = RuntimeOptions.of(vars(options))
    if name == "zerogpu":
        if not zerogpu.is_available():
            rule = "this is not a Space with ZeroGPU hardware"
            raise ConfigError(
                "executor", name, rule, "Use --executor thread, or select ZeroGPU in the Space's settings."
            )
        return zerogpu.open_executor(
            options.model, runtime, print_progress, lease_s=options.lease_s, size=options.gpu_size
        )
    if name == "ray":
        from longlive.serving.executors.ray import RayExecutor

        ray = RayExecutor(
            options.model,
            runtime,
            actors=options.actors,
            address=options.ray_address,
            progress=print_progress,
        )
        ray.warm_up()
        return ray
    return start(options.model, runtime, print_progress, prepare=_warm_executor)


def _warm_executor(models: ModelBundle) -> ThreadExecutor:
    executor = ThreadExecutor(ModelRunner(models))
    executor.warm_up()
    return executor
