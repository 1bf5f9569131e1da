"""The app's options, and the engine that they describe: executor, store and limits."""

import argparse
import importlib.util
import os

from longlive.audience.publisher import Publisher
from longlive.audience.room import Room
from longlive.audience.room_options import RoomOptions, add_room_options
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
from longlive.serving.served_models import ServedModels, open_models
from longlive.training.data.chat_models import ChatModel, EndpointChat
from longlive.web.file_serving import serve_from
from longlive.web.prompt_advice import nearest_prompt

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
    add_room_options(parser)
    add_model_options(parser, decoder="auto", several_models=True)


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
    models = open_executors(options)
    size = options.store_gb * 1e9
    engine = Engine(models, limits=limits, folder=folder, max_store_bytes=size, resume=options.resume)
    serve_from(engine.folder)
    if _executor_name(options) == "thread":
        engine.metrics.watch_gpu(RuntimeOptions.of(vars(options)).torch_device)
    return engine


def open_room(options: RoomOptions, engine: Engine) -> Room:
    """The room over an engine, which goes on from now on.

    Raises:
        LongLiveError: if its video cannot be started.
    """
    card = engine.executor.card
    room = Room(engine, options, adapt=lambda text: nearest_prompt(text, card))
    room.start()
    return room


def open_publisher(options: RoomOptions | None, room: Room | None) -> Publisher | None:
    """What sends the room's video on from now on; None if the options name no address."""
    return Publisher(room, options.publish) if options and room and options.publish else None


def _check_options(options: argparse.Namespace) -> None:
    """ConfigError if an option of the app has an impossible value, or needs a package that is not there."""
    for name in ("store_gb", "lease_s", "actors"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(option, value, "it must be above 0", "Leave it out for the default.")
    name, models = _executor_name(options), options.model
    if len(models) > 1 and name != "thread":
        rule = f"the executor {name} serves a single model"
        raise ConfigError("--model", " ".join(models), rule, "Give one, or use --executor thread.")
    if len(models) > 1 and options.lora:
        rule = "a LoRA is merged into a single model"
        cure = "Merge it with python -m longlive fetch, and give the folder that this prints as a model."
        raise ConfigError("--lora", str(options.lora[0].path), rule, cure)
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


def _executor_name(options: argparse.Namespace) -> str:
    name: str = options.executor
    return default_executor() if name == "auto" else name


def open_executors(options: argparse.Namespace) -> ServedModels:
    """The executors of the models that the options name; the first one's is loaded and warm.

    Raises:
        LongLiveError: if no model can be loaded, or the executor cannot start here.
    """
    if len(options.model) > 1:
        return open_models(options.model, RuntimeOptions.of(vars(options)), print_progress)
    return ServedModels([_open_executor(options.model[0], options)])


def _open_executor(model: str, options: argparse.Namespace) -> Executor:
    name, runtime = _executor_name(options), RuntimeOptions.of(vars(options))
    if name == "zerogpu":
        if not zerogpu.is_available():
            rule = "this is not a Space with ZeroGPU hardware"
            raise ConfigError(
                "executor", name, rule, "Use --executor thread, or select ZeroGPU in the Space's settings."
            )
        return zerogpu.open_executor(
            model, runtime, print_progress, lease_s=options.lease_s, size=options.gpu_size
        )
    if name == "ray":
        from longlive.serving.executors.ray import RayExecutor

        ray = RayExecutor(
            model,
            runtime,
            actors=options.actors,
            address=options.ray_address,
            progress=print_progress,
        )
        ray.warm_up()
        return ray
    return start(model, runtime, print_progress, prepare=_warm_executor)


def _warm_executor(models: ModelBundle) -> ThreadExecutor:
    executor = ThreadExecutor(ModelRunner(models))
    executor.warm_up()
    return executor
