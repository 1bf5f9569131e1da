"""LongLive: type a prompt, watch the video, change it while it plays."""

import argparse
import os
import sys

import spaces  # noqa: F401  (must come before anything that touches CUDA; does nothing off ZeroGPU)

from longlive.checkpoints import load_models
from longlive.engine import Engine
from longlive.errors import LongLiveError
from longlive.web.page import build_page, page_options


def read_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options, each from the command line, else from ``LONGLIVE_*``, else its default."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )

    def add(name: str, default: str, about: str, **more: object) -> None:
        variable = f"LONGLIVE_{name.upper()}"
        value = os.environ.get(variable, default)
        parser.add_argument(f"--{name}", default=value, help=f"{about} [{variable}]", **more)  # type: ignore[arg-type]

    add("model", "storybook", "name, folder or Hub repository of the model")
    add("host", "127.0.0.1", "address to listen on; 0.0.0.0 for all")
    add("port", "7860", "port to listen on", type=int)
    add("player", "live", "how the page plays unless the viewer chooses", choices=("live", "compatible"))
    for name, about in (("share", "also open a public link"), ("mcp", "offer /generate as an MCP tool")):
        value = os.environ.get(f"LONGLIVE_{name.upper()}", "") not in ("", "0")
        parser.add_argument(
            f"--{name}", action="store_true", default=value, help=f"{about} [LONGLIVE_{name.upper()}]"
        )
    return parser.parse_args(arguments)


def main() -> int:
    """Load the model, open the page, and serve it until interrupted."""
    options = read_options()
    try:
        engine = Engine(load_models(options.model))
        engine.warm_up()
    except LongLiveError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    page = build_page(engine, player=options.player, with_mcp=options.mcp)
    try:
        page.launch(
            server_name=options.host,
            server_port=options.port,
            share=options.share,
            mcp_server=options.mcp or None,
            **page_options(),
        )
    finally:
        engine.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
