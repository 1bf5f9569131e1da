"""How fast a viewer's prompts come, and how long the pictures are waited for."""

import pytest

import longlive.serving.runs.viewer_metrics as module
from longlive.errors import PromptError
from longlive.serving.metrics import Metrics
from longlive.serving.runs.viewer_metrics import RateLimiter, ViewerMetrics
from tests.support.metrics_reader import figures


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch):
    return lambda now: monkeypatch.setattr(module.time, "monotonic", lambda: now)


def test_so_many_prompts_a_minute_and_then_the_wait_is_told(set_clock) -> None:
    pace = RateLimiter(2)
    for now in (100.0, 120.0):
        set_clock(now)
        pace.check()
        pace.count()
    set_clock(130.0)
    with pytest.raises(PromptError, match=r"2 prompts came within a minute.*again in 30 s"):
        pace.check()
    set_clock(160.5)
    pace.check()
    pace.count()
    with pytest.raises(PromptError, match="again in 20 s"):
        pace.check()


def test_a_prompt_is_seen_when_the_player_has_come_to_its_second(set_clock) -> None:
    metrics = Metrics()
    watching = ViewerMetrics(metrics, 2)
    for now, second in ((10.0, 4.0), (11.0, 5.0), (12.0, 6.0)):
        set_clock(now)
        watching.prompt_sent(int(second), second)
    set_clock(13.0)
    watching.on_screen(4.9, None)
    assert figures(metrics)["longlive_prompt_to_picture_seconds_count"] == 0, "the first of three was let go"
    watching.on_screen(5.0, None)
    set_clock(15.0)
    watching.on_screen(7.0, None)
    watching.on_screen(8.0, None)
    seen = figures(metrics)
    assert seen["longlive_prompt_to_picture_seconds_count"] == 2
    assert seen["longlive_prompt_to_picture_seconds_sum"] == 2.0 + 3.0


def test_the_first_picture_is_counted_once_from_the_seat_on(set_clock) -> None:
    metrics = Metrics()
    watching = ViewerMetrics(metrics, 1)
    set_clock(20.0)
    watching.on_screen(0.0, 19.0)
    assert figures(metrics)["longlive_first_picture_seconds_count"] == 0
    set_clock(20.5)
    watching.on_screen(0.1, 19.0)
    watching.on_screen(0.2, 19.0)
    assert figures(metrics)["longlive_first_picture_seconds_sum"] == 1.5


def test_stalls_are_counted_by_what_is_new_and_a_new_player_begins_at_0() -> None:
    metrics = Metrics()
    watching = ViewerMetrics(metrics, 1)
    for times in (1, 3, 3, 0, 2):
        watching.stalls(times)
    assert figures(metrics)["longlive_stalls_total"] == 5


def test_what_no_stage_of_the_worker_took_was_waited_for(set_clock) -> None:
    metrics = Metrics()
    watching, stages = ViewerMetrics(metrics, 2), {"denoise": 300.0, "other": 100.0}
    set_clock(10.0)
    watching.prompt_sent(5, 4.0)
    watching.prompt_sent(6, 4.75)
    set_clock(11.0)
    assert watching.prompt_made(4, stages) is None, "a prompt of a script"
    assert watching.prompt_made(5, stages) == {"waiting": pytest.approx(600.0), **stages}
    set_clock(11.5)
    assert watching.prompt_made(6, stages) == {"waiting": pytest.approx(1100.0), **stages}
    assert watching.prompt_made(7, stages) is None, "nobody has sent another one"
    seen = figures(metrics)
    assert seen["longlive_prompt_stage_seconds_count{stage=waiting}"] == 2
    assert seen["longlive_prompt_stage_seconds_sum{stage=waiting}"] == pytest.approx(1.7)
    assert seen["longlive_prompt_stage_seconds_sum{stage=denoise}"] == pytest.approx(0.6)
    assert seen["longlive_prompt_stage_seconds_count{stage=text}"] == 0
