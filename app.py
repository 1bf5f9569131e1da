"""LongLive: type a prompt, watch the video, change it while it plays."""

import argparse
import os
import signal
import sys
from types import FrameType

import spaces  # noqa: F401  (must come before anything that touches CUDA; does nothing off ZeroGPU)

from longlive.audience.room_options import read_room_options
from longlive.errors import LongLiveError
from longlive.network import check_address, direct_connections, url_host
from longlive.runtime.options import parse_with_environment
from longlive.serving.run_logger import configure_logging
from longlive.web.file_serving import remove_served
from longlive.web.health import routes_of
from longlive.web.launch import add_serving_options, open_engine, open_publisher, open_room, prompt_writer
from longlive.web.middleware.client_address import trust_proxies
from longlive.web.page import build_page, page_options


def read_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of the command line; those that it leaves out, from ``LONGLIVE_*`` in the environment."""
    about = f"{__doc__} Every option can also be set in the environment, as LONGLIVE_MODEL and so on."
    parser = argparse.ArgumentParser(description=about)
    add_serving_options(parser)
    return parse_with_environment(parser, arguments, prefix="LONGLIVE")


def main() -> int:
    """Load the model and serve the page until interrupted, by Ctrl-C or SIGTERM."""
    options = read_options()
    configure_logging()
    trust_proxies()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        writer, room_options = prompt_writer(options), read_room_options(options)
        engine = open_engine(options)
    except LongLiveError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    room = open_room(room_options, engine) if room_options else None
    publisher = open_publisher(room_options, room)
    page = build_page(engine, player=options.player, with_mcp=options.mcp, prompt_writer=writer, room=room)
    where = {"server_name": url_host(options.host), "server_port": options.port, "share": options.share}
    routes = routes_of(engine.status, engine.metrics, publisher=publisher)
    try:
        check_address(options.host, options.port)  # again: loading the model has taken a while
        with direct_connections(options.host):  # Gradio asks its own address whether it answers
            page.launch(**where, mcp_server=options.mcp or None, **page_options(routes))
    except KeyboardInterrupt:  # while it was still starting; later, launch itself ends quietly
        pass
    except (LongLiveError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    finally:
        page.close(verbose=False)
        if publisher is not None:
            publisher.close()
        if room is not None:
            room.close()
        has_let_go = engine.close()
        remove_served(engine.folder)
    if not has_let_go:  # at the usual end, torch would abort in the threads that still compute
        sys.stderr.write("A chunk was still being made after 10 s, and is given up.\n")
        sys.stderr.flush()
        os._exit(0)
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
