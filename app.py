"""LongLive: type a prompt, watch the video, change it while it plays."""

import argparse
import os
import sys

import spaces  # noqa: F401  (must come before anything that touches CUDA; does nothing off ZeroGPU)

from longlive.errors import LongLiveError
from longlive.journal import show_lines
from longlive.options import add_model_options, add_viewer_options, parse_with_environment
from longlive.web.carrying import add_carrier_options, open_engine
from longlive.web.health import routes_of
from longlive.web.page import build_page, page_options


def read_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options: those of the command line, before them those of ``LONGLIVE_*`` in the environment."""
    about = f"{__doc__} Every option can also stand in the environment, as LONGLIVE_MODEL and so on."
    parser = argparse.ArgumentParser(description=about)
    host, port = usual_address()
    parser.add_argument("--host", default=host, help=f"address to listen on; 0.0.0.0: any (default: {host})")
    parser.add_argument("--port", default=port, type=int, help=f"port to listen on (default: {port})")
    parser.add_argument(
        "--player", default="live", choices=("live", "compatible"), help="unless the viewer chooses"
    )
    parser.add_argument("--share", action="store_true", help="also open a public link")
    parser.add_argument("--mcp", action="store_true", help="offer /generate as an MCP tool")
    add_carrier_options(parser)
    add_viewer_options(parser)
    add_model_options(parser, decoder="auto")
    return parse_with_environment(parser, arguments, prefix="LONGLIVE")


def usual_address() -> tuple[str, int | str]:
    """Host and port to listen on where nobody says: Gradio's variables, then what Spaces needs, then here."""
    is_space = os.environ.get("SYSTEM") == "spaces"
    host = os.environ.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if is_space else "127.0.0.1")
    return host, os.environ.get("GRADIO_SERVER_PORT") or 7860


def trust_the_host() -> None:
    """A Space is reached through its host's proxies alone: their word on where a viewer is counts."""
    if os.environ.get("SYSTEM") == "spaces":
        os.environ.setdefault("FORWARDED_ALLOW_IPS", "*")


def main() -> int:
    """Load the model, open the page, and serve it until interrupted."""
    options = read_options()
    show_lines()
    trust_the_host()
    try:
        engine = open_engine(options)
    except LongLiveError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    page = build_page(engine, player=options.player, with_mcp=options.mcp)
    routes = routes_of(engine.house, engine.metrics)
    where = {"server_name": options.host, "server_port": options.port, "share": options.share}
    try:
        page.launch(**where, mcp_server=options.mcp or None, **page_options(routes))
    except KeyboardInterrupt:  # while it was still starting; later, launch itself ends quietly
        pass
    finally:
        page.close(verbose=False)
        engine.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
