"""LongLive: type a prompt, watch the video, change it while it plays."""

import argparse
import sys

import spaces  # noqa: F401  (must come before anything that touches CUDA; does nothing off ZeroGPU)

from longlive.errors import LongLiveError
from longlive.runtime.options import parse_with_environment
from longlive.serving.run_logger import configure_logging
from longlive.web.health import routes_of
from longlive.web.launch import add_serving_options, open_engine, trust_the_host
from longlive.web.page import build_page, page_options


def read_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options: those of the command line, before them those of ``LONGLIVE_*`` in the environment."""
    about = f"{__doc__} Every option can also stand in the environment, as LONGLIVE_MODEL and so on."
    parser = argparse.ArgumentParser(description=about)
    add_serving_options(parser)
    return parse_with_environment(parser, arguments, prefix="LONGLIVE")


def main() -> int:
    """Load the model, open the page, and serve it until interrupted."""
    options = read_options()
    configure_logging()
    trust_the_host()
    try:
        engine = open_engine(options)
    except LongLiveError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    page = build_page(engine, player=options.player, with_mcp=options.mcp)
    routes = routes_of(engine.status, engine.metrics)
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
