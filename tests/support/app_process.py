"""The page on test cards in a process of its own, whose log can be read to the end.

python -m tests.support.app_process     # prints its address and folder; a line on stdin asks for leaks
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from longlive.serving.run_logger import configure_logging
from tests.support.fakes import FakeModels, serve_page
from tests.support.paths import ROOT

LIMITS = {
    "no_player_timeout_s": 20.0,
    "max_duration_s": 7200.0,
    "contended_duration_s": 7200.0,
    "disconnect_timeout_s": 10.0,
    "retention_s": 1.0,
}


@dataclass
class Apart:
    """A page that is being served by another process; ``log`` is full when it has ended."""

    url: str
    folder: str
    log: list[str] = field(default_factory=list)


@contextmanager
def serve_apart(log: Path) -> Iterator[Apart]:
    """The page; at the end AssertionError if anything is left of what was played there.

    Args:
        log: where its output and errors go.
    """
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.app_process"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True, cwd=ROOT,
        )  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        try:
            page = Apart(**json.loads(process.stdout.readline()))
            yield page
            process.stdin.write("\n")
            process.stdin.flush()
            rest, _ = process.communicate(timeout=120)
            assert process.returncode == 0, log.read_text()[-3000:]
            page.log += [rest, log.read_text()]
        finally:
            process.kill()


def main() -> None:
    """Serve until a line comes in."""
    configure_logging()
    with serve_page(FakeModels(chunk_s=0.05, streams=2), **LIMITS) as served:
        print(json.dumps({"url": served.url, "folder": str(served.engine.folder)}), flush=True)
        sys.stdin.readline()
        served.wait_until_empty()


if __name__ == "__main__":
    main()
