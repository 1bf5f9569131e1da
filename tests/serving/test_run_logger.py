"""One line for each message, whatever text comes with it."""

import io
import logging
import re
from collections.abc import Iterator

import pytest

from longlive.serving.run_logger import MAX_QUOTED_CHARACTERS, RunLogger, configure_logging, quoted

HOSTILE = [
    "a ball\nrun 000000: ended (stopped) after 1.00 s of video: 'forged'",
    "a ball\r\x1b[2J\x1b[31mred\x07",
    "ends here\u2028and goes on\u2029there\x85",
    "\u202etxet desrever",
    "half a pair \ud800",
    "%s %d %(name)s {0}",
    "x" * 10_000,
]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the app would write to standard error."""
    loggers = [logging.getLogger(name) for name in (None, "longlive", "longlive.generation")]
    handlers, levels, stream = loggers[0].handlers[:], [one.level for one in loggers], io.StringIO()
    loggers[0].handlers.clear()
    configure_logging(stream)
    yield stream
    loggers[0].handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def test_a_line_names_its_run(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    RunLogger("3fa2c1d4").info("admitted after %.1f s in the queue", 3.24)
    assert caplog.records[0].getMessage() == "run 3fa2c1d4: admitted after 3.2 s in the queue"


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_cannot_forge_a_line_nor_reach_the_terminal(log: io.StringIO, text: str) -> None:
    RunLogger("3fa2c1d4").warning("model failed: %s", quoted(text))
    (line,) = log.getvalue().splitlines()
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d run 3fa2c1d4: ", line)
    assert line.isprintable() and len(line) < 6 * MAX_QUOTED_CHARACTERS


def test_only_plain_words_go_without_quotes() -> None:
    assert quoted("soft") == "soft"
    assert quoted("worker_lost") == "worker_lost"
    assert quoted("worker lost") == "'worker lost'"
    assert quoted("") == "''"
    assert quoted("x" * 500) == f"'{'x' * (MAX_QUOTED_CHARACTERS - 1)}…'"
    assert quoted(ValueError("two\nlines")) == r"'two\nlines'"


def test_other_packages_show_warnings_only(log: io.StringIO) -> None:
    logging.getLogger("httpx").info("GET with a session hash")
    logging.getLogger("httpx").warning("slow")
    logging.getLogger("longlive.serving.engine").info("ours")
    logging.getLogger("longlive.generation.chunk_generator").info(
        "session begins: seed 7, prompt 'a secret wish'"
    )
    assert [line.split(" ", 2)[2] for line in log.getvalue().splitlines()] == ["slow", "ours"]
