"""Stages: the host's time on a CPU; on a device its own, which only the reader waits for."""

import time

import pytest
import torch

from longlive.generation.stopwatch import Stopwatch


class FakeEvent:
    """A CUDA event that comes to pass when somebody waits for it."""

    waited = 0

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        """Nothing happens until then."""

    def synchronize(self) -> None:
        FakeEvent.waited += 1

    def elapsed_time(self, other: "FakeEvent") -> float:
        return 5000.0


def test_each_stage_has_its_own_milliseconds_until_the_next_chunk() -> None:
    watch = Stopwatch(torch.device("cpu"))
    with watch.stage("denoise"):
        time.sleep(0.02)
    with watch.stage("decode"):
        pass
    assert set(watch.ms) == {"denoise", "decode"}
    assert watch.ms["denoise"] >= 20 > watch.ms["decode"]
    watch.clear()
    assert watch.ms == {}


def test_a_device_s_time_is_read_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    FakeEvent.waited, watch = 0, Stopwatch(torch.device("cuda"))
    with watch.stage("denoise"):
        pass
    with watch.stage("remember"):
        pass
    assert FakeEvent.waited == 0
    assert watch.ms == {"denoise": 5000.0, "remember": 5000.0}
    assert FakeEvent.waited == 2
    assert watch.ms["denoise"] == 5000.0 and FakeEvent.waited == 2


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_stage_that_breaks_is_timed_all_the_same(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    watch = Stopwatch(torch.device(device))
    with pytest.raises(ValueError, match="broken"), watch.stage("denoise"):
        raise ValueError("broken")
    assert watch.ms["denoise"] > 0


def test_waiting_for_the_device_may_be_left_out_of_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(FakeEvent, "elapsed_time", lambda *_: 2.0)
    for device_only, expected in ((True, 2.0), (False, pytest.approx(20, abs=15))):
        watch = Stopwatch(torch.device("cuda"))
        with watch.stage("decode", device_only=device_only):
            time.sleep(0.02)
        assert watch.ms["decode"] == expected
    watch = Stopwatch(torch.device("cpu"))
    with watch.stage("decode", device_only=True):
        time.sleep(0.02)
    assert watch.ms["decode"] >= 20
