"""The page on test cards in a process of its own, with its whole log.

python -m tests.support.app_process     # prints its address and folder; a line on stdin ends it
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE

from longlive.audience.room_options import RoomOptions
from longlive.serving.run_logger import configure_logging
from tests.support.fakes import FakeModels, serve_page
from tests.support.prefork import ForkedProgram
from tests.support.room_page import room_of
from tests.support.run_reader import wait_for

LIMITS = {
    "no_player_timeout_s": 20.0,
    "max_duration_s": 7200.0,
    "contended_duration_s": 7200.0,
    "disconnect_timeout_s": 10.0,
    "retention_s": 1.0,
}


OPERATOR_TOKEN = "token-of-the-operator"
ROOM = RoomOptions(rest_s=7200, operator_token=OPERATOR_TOKEN)


@dataclass
class AppProcess:
    """A page with a room that another process serves; ``log`` is complete when it has ended."""

    url: str
    folder: str
    room_token: str
    log: list[str] = field(default_factory=list)


@contextmanager
def serve_in_process(log: Path) -> Iterator[AppProcess]:
    """Serve the page; AssertionError at the end if anything is left of the runs.

    Args:
        log: where its output and errors go.
    """
    with log.open("w") as file:
        process = ForkedProgram(["-m", "tests.support.app_process"], stdin=PIPE, stdout=PIPE, stderr=file)
        assert process.stdin is not None and process.stdout is not None
        try:
            page = AppProcess(**json.loads(process.stdout.readline()))
            yield page
            process.stdin.write("\n")
            process.stdin.flush()
            rest = process.stdout.read()
            assert process.wait(120) == 0, log.read_text()[-3000:]
            page.log += [rest, log.read_text()]
        finally:
            process.kill()


def main() -> None:
    """Serve until a line comes on stdin."""
    configure_logging()
    with serve_page(FakeModels(chunk_s=0.05, streams=3), room=ROOM, **LIMITS) as served:
        room = room_of(served)
        facts = {"url": served.url, "folder": str(served.engine.folder), "room_token": room.run.token}
        print(json.dumps(facts), flush=True)
        sys.stdin.readline()
        made = room.run.num_chunks
        wait_for(lambda: room.run.num_chunks > made and not room.is_paused, 60)
        room.close()
        room.run.stop("closed")
        served.wait_until_empty()


if __name__ == "__main__":
    main()
