"""One line for each thing that happens to a run, whatever text comes with it."""

import io
import logging
import re
from collections.abc import Iterator

import pytest

from longlive.serving.run_logger import SHOWN_CHARACTERS, RunLogger, show_lines, shown

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
    loggers = [logging.getLogger(name) for name in (None, "longlive", "longlive.generation.session")]
    handlers, levels, stream = loggers[0].handlers[:], [one.level for one in loggers], io.StringIO()
    loggers[0].handlers.clear()
    show_lines(stream)
    yield stream
    loggers[0].handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def test_each_event_is_one_line_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    journal = RunLogger("3fa2c1d4")
    journal.started(7, "a red ball stands", "thread")
    journal.seated(3.24)
    journal.turned("soft", 12, "the red ball jumps")
    journal.rests(60)
    journal.resumed("exact", 13, "the worker was lost")
    journal.failed("memory", 14, "CUDA out of memory")
    journal.ended("stopped", 12.754, "The story has ended.")
    assert [record.getMessage().removeprefix("run 3fa2c1d4: ") for record in caplog.records] == [
        "started, seed 7, 17 characters, thread carrier",
        "got a seat after 3.2 s",
        "turns (soft) at chunk 12, 18 characters",
        "rests, since its viewer is away; kept for 60 s",
        "goes on from chunk 13 in the exact way: 'the worker was lost'",
        "memory failed at chunk 14: 'CUDA out of memory'",
        "ended (stopped) after 12.75 s of video: 'The story has ended.'",
    ]
    assert [record.levelname for record in caplog.records].count("WARNING") == 1


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_cannot_forge_a_line_nor_reach_the_terminal(log: io.StringIO, text: str) -> None:
    journal = RunLogger("3fa2c1d4")
    journal.started(7, text, "thread")
    journal.turned(text, 1, text)
    journal.failed(text, 2, text)
    journal.ended(text, 3.0, text)
    lines = log.getvalue().splitlines()
    assert len(lines) == 4
    for line in lines:
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d run 3fa2c1d4: ", line)
        assert line.isprintable() and len(line) < 6 * SHOWN_CHARACTERS


def test_prompts_are_counted_and_never_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    journal = RunLogger("3fa2c1d4")
    journal.started(7, "my secret wish", "thread")
    journal.turned("soft", 3, "my secret wish")
    assert "secret" not in caplog.text


def test_only_plain_words_go_without_quotes() -> None:
    assert shown("soft") == "soft"
    assert shown("worker lost") == "'worker lost'"
    assert shown("") == "''"
    assert shown("x" * 500) == f"'{'x' * (SHOWN_CHARACTERS - 1)}…'"
    assert shown(ValueError("two\nlines")) == r"'two\nlines'"


def test_other_packages_show_warnings_only(log: io.StringIO) -> None:
    logging.getLogger("httpx").info("GET with a session hash")
    logging.getLogger("httpx").warning("slow")
    logging.getLogger("longlive.serving.engine").info("ours")
    logging.getLogger("longlive.generation.session").info("session begins: seed 7, prompt 'a secret wish'")
    assert [line.split(" ", 2)[2] for line in log.getvalue().splitlines()] == ["slow", "ours"]
