"""LongLive: type a prompt, watch the video, change it while it plays."""

import argparse
import os
import sys

import spaces  # noqa: F401  (must come before anything that touches CUDA; does nothing off ZeroGPU)
import torch

from longlive.checkpoints import load_models
from longlive.engine import Engine
from longlive.errors import LongLiveError
from longlive.web.page import build_page, page_options


def read_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options: those of the command line, before them those of ``LONGLIVE_*`` in the environment."""
    about = f"{__doc__} Every option can also stand in the environment, as LONGLIVE_MODEL and so on."
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", default="storybook", help="name, folder or Hub repository of the model")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all")
    parser.add_argument("--port", default=7860, type=int, help="port to listen on")
    parser.add_argument(
        "--player", default="live", choices=("live", "compatible"), help="unless the viewer chooses"
    )
    parser.add_argument("--threads", default=1, type=int, help="of torch on the CPU; 1 suits busy cores")
    parser.add_argument("--share", action="store_true", help="also open a public link")
    parser.add_argument("--mcp", action="store_true", help="offer /generate as an MCP tool")
    given = {name: os.environ.get(f"LONGLIVE_{name.upper()}", "") for name in vars(parser.parse_args([]))}
    valued = [f"--{name}={value}" for name, value in given.items() if value and name not in ("share", "mcp")]
    flags = [f"--{name}" for name in ("share", "mcp") if given[name] not in ("", "0")]
    return parser.parse_args([*valued, *flags, *(sys.argv[1:] if arguments is None else arguments)])


def main() -> int:
    """Load the model, open the page, and serve it until interrupted."""
    options = read_options()
    torch.set_num_threads(options.threads)
    try:
        engine = Engine(load_models(options.model))
        engine.warm_up()
    except LongLiveError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    page = build_page(engine, player=options.player, with_mcp=options.mcp)
    where = {"server_name": options.host, "server_port": options.port, "share": options.share}
    try:
        page.launch(**where, mcp_server=options.mcp or None, **page_options())
    except KeyboardInterrupt:  # while it was still starting; later, launch itself ends quietly
        pass
    finally:
        page.close(verbose=False)
        engine.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
