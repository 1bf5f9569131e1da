"""Log lines about runs, and how foreign text is shown in them.

A run is called by its short name, the beginning of its token's digest, which gives no access to it; of
prompts only the length is logged. Whatever else was not written by this code is shortened and quoted, line
breaks and escapes spelt out.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

logger = logging.getLogger(__name__)

MAX_QUOTED_CHARACTERS = 160


class RunLogger(logging.LoggerAdapter):
    """The package's log with the name of a run before each line."""

    def __init__(self, name: str) -> None:
        """Log about the run of this short name."""
        super().__init__(logger, {"run": name})

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """``run NAME: `` before the message."""
        assert self.extra is not None
        return f"run {self.extra['run']}: {msg}", kwargs


def quoted(text: object) -> str:
    """Foreign text as it may stand in a log: a plain word as it is, all else in quotes, on one short line."""
    shown = str(text)
    if shown.isascii() and shown.isidentifier() and len(shown) <= 30:
        return shown
    cut = shown if len(shown) <= MAX_QUOTED_CHARACTERS else shown[: MAX_QUOTED_CHARACTERS - 1] + "…"
    return repr(cut)


def configure_logging(stream: TextIO | None = None) -> None:
    """Show the lines of this package with the time; of other packages, warnings only.

    Args:
        stream: where to; None: standard error.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("longlive").setLevel(logging.INFO)
    logging.getLogger("longlive.generation").setLevel(logging.WARNING)  # its lines show prompts
