"""One line in the log for each start, switch, stop and failure of a story, with the reason.

journal = Journal(run.name)
journal.started(7, "a red ball stands", "thread")  # run 3fa2c1d4: started, seed 7, 17 characters, …
journal.ended("stopped", 12.75, "The story has ended.")

A run is called by its short name, the beginning of its token's digest, which opens nothing; of prompts only
the length is told. Whatever else was not written by this code stands shortened and in quotes, line breaks and
escapes spelt out.
"""

import logging
import sys
from typing import TextIO

logger = logging.getLogger(__name__)

SHOWN_CHARACTERS = 160


class RunLogger:
    """The lines about one run."""

    def __init__(self, name: str) -> None:
        """About the run of this short name."""
        self.name = name

    def started(self, seed: int, prompt: str, carrier: str) -> None:
        """It has begun, or stands in line."""
        self._tell("started, seed %d, %d characters, %s carrier", seed, len(prompt), carrier)

    def seated(self, waited_s: float) -> None:
        """It has a seat after it stood in line."""
        self._tell("got a seat after %.1f s", waited_s)

    def turned(self, switch: str, chunk: int, prompt: str) -> None:
        """A prompt was taken for a chunk."""
        self._tell("turns (%s) at chunk %d, %d characters", shown(switch), chunk, len(prompt))

    def rests(self, grace_s: float) -> None:
        """Its viewer is away."""
        self._tell("rests, since its viewer is away; kept for %.0f s", grace_s)

    def resumed(self, way: str, chunk: int, why: str) -> None:
        """It goes on after a break."""
        self._tell("goes on from chunk %d in the %s way: %s", chunk, shown(way), shown(why))

    def failed(self, kind: str, chunk: int, why: str) -> None:
        """Something broke, whether the run goes on or not."""
        self._tell("%s failed at chunk %d: %s", shown(kind), chunk, shown(why), level=logging.WARNING)

    def ended(self, reason: str, seconds: float, why: str) -> None:
        """It is over, with so much video made."""
        self._tell("ended (%s) after %.2f s of video: %s", shown(reason), seconds, shown(why))

    def _tell(self, words: str, *values: object, level: int = logging.INFO) -> None:
        logger.log(level, "run %s: " + words, self.name, *values)


def shown(text: object) -> str:
    """Foreign text as it may stand in a log: a plain word as it is, all else in quotes, on one short line."""
    words = str(text)
    if words.isascii() and words.isalpha() and len(words) <= 20:
        return words
    cut = words if len(words) <= SHOWN_CHARACTERS else words[: SHOWN_CHARACTERS - 1] + "…"
    return repr(cut)


def show_lines(stream: TextIO | None = None) -> None:
    """Show the lines of this package, with the time; of other packages, warnings only.

    Args:
        stream: where to; None: standard error.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("longlive").setLevel(logging.INFO)
    logging.getLogger("longlive.generation.session").setLevel(logging.WARNING)  # its lines tell prompts
