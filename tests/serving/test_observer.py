"""What happens to a run is counted once and logged once."""

import logging

import pytest

from longlive.serving.executors.events import Failure
from longlive.serving.metrics import Metrics
from longlive.serving.observer import (
    Admitted,
    ChunkMade,
    Ended,
    EventsDropped,
    Observer,
    PromptAccepted,
    PromptRefused,
    Resumed,
    Started,
    Suspended,
)
from tests.support.metrics_reader import figures

OCCURRENCES = {
    Started(7, 17, "thread", "sgf"): (
        "runs_started_total",
        "started, seed 7, 17 characters, thread executor, model sgf",
    ),
    Admitted(3.24): (None, "admitted after 3.2 s in the queue"),
    PromptAccepted("soft", 12, 18): (
        "prompts_total{switch=soft}",
        "prompt switch (soft) at chunk 12, 18 characters",
    ),
    PromptRefused(): ("prompts_refused_total", None),
    Suspended("viewer_away", 60): (None, "suspended: viewer away; kept for 60 s"),
    Resumed("exact", 13, "the worker was lost"): (
        "resumes_total{mode=exact}",
        "resumed (exact) at chunk 13: 'the worker was lost'",
    ),
    ChunkMade(12, 0.2): ("chunk_seconds_count", None),
    EventsDropped(1): ("dropped_messages_total", None),
    Failure("memory", "CUDA out of memory", 14): (
        "failures_total{kind=memory}",
        "memory failed at chunk 14: 'CUDA out of memory'",
    ),
    Ended("user", 12.754): (
        "runs_ended_total{reason=stopped}",
        "ended (stopped) after 12.75 s of video: user",
    ),
    Ended("quota", 1.0, "no GPU time"): (
        "runs_ended_total{reason=limit}",
        "ended (limit) after 1.00 s of video: 'no GPU time'",
    ),
    Ended("expired", 1.0): (
        "runs_ended_total{reason=abandoned}",
        "ended (abandoned) after 1.00 s of video: expired",
    ),
}


@pytest.mark.parametrize("happened", OCCURRENCES, ids=lambda one: type(one).__name__)
def test_each_occurrence_is_counted_once_and_logged_in_one_line(caplog, happened) -> None:
    caplog.set_level(logging.INFO)
    counter, line = OCCURRENCES[happened]
    metrics = Metrics()
    before = figures(metrics)
    Observer(metrics).record("3fa2c1d4", happened)
    changed = {name: value - before[name] for name, value in figures(metrics).items() if name in before}
    if counter:
        assert changed[f"longlive_{counter}"] == 1
    assert [one.getMessage() for one in caplog.records] == ([f"run 3fa2c1d4: {line}"] if line else [])
    assert [one.levelname for one in caplog.records].count("WARNING") == isinstance(happened, Failure)
