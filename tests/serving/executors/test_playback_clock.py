"""Where the player is, by its reports."""

import math

import pytest

from longlive.serving.executors import playback_clock
from longlive.serving.executors.messages import Playhead
from longlive.serving.executors.playback_clock import MAX_LEAP_S, PlaybackClock


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time; tests move it."""
    seconds = [100.0]
    monkeypatch.setattr(playback_clock.time, "monotonic", lambda: seconds[0])
    return seconds


def test_before_the_first_report_the_first_segment_plays_from_when_it_was_sent(now: list[float]) -> None:
    clock = PlaybackClock()
    now[0] += 5
    assert clock.position(9.0) == 0.0
    clock.assume_playing()
    now[0] += 2
    assert clock.position(9.0) == 2.0
    assert clock.position(1.5) == 1.5, "never beyond what was made"


def test_a_reported_pause_is_believed_until_the_next_report(now: list[float]) -> None:
    clock = PlaybackClock()
    assert not clock.is_paused
    clock.report(Playhead(1.0, playing=False))
    clock.assume_playing()
    now[0] += 3
    assert clock.is_paused and clock.position(9.0) == 1.0
    clock.report(Playhead(1.0, playing=True))
    now[0] += 3
    assert not clock.is_paused and clock.position(9.0) == 4.0


def test_a_position_that_is_only_assumed_is_no_pause(now: list[float]) -> None:
    clock = PlaybackClock()
    clock.seek(30.0, False)
    assert not clock.is_paused and clock.position(90.0) == 30.0
    clock.assume_playing()
    now[0] += 1
    assert clock.position(90.0) == 31.0


def test_a_clock_believes_what_can_be_true(now: list[float]) -> None:
    clock = PlaybackClock()
    clock.report(Playhead(1e9))
    assert clock.position(1e9) == MAX_LEAP_S
    clock.report(Playhead(1e9, playing=False))
    assert clock.position(1e9) == MAX_LEAP_S, "to say it again does not help"
    now[0] += 3600
    clock.report(Playhead(1e9, playing=False))
    assert clock.position(1e9) == 2 * MAX_LEAP_S, "who stood still has gathered nothing"
    clock.report(Playhead(2.0))
    assert clock.position(1e9) == 2.0
    clock.report(Playhead(2 * MAX_LEAP_S))
    assert clock.position(1e9) == 2 * MAX_LEAP_S, "who looked back may return to where it was"
    now[0] += 600
    clock.report(Playhead(2 * MAX_LEAP_S + 600))
    assert clock.position(1e9) == 2 * MAX_LEAP_S + 600, "who plays on is believed"
    clock.report(Playhead(math.nan))
    assert clock.position(1e9) == 2 * MAX_LEAP_S + 600
