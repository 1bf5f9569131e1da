"""The stages of a prompt's first segment, on clocks that are known."""

from typing import Any

import pytest
import torch

from longlive.generation.stopwatch import Stopwatch
from longlive.serving.rendering import prompt_stages
from longlive.serving.rendering.prompt_stages import STAGES, PromptStages


class TimedSession:
    """What PromptStages reads of a session."""

    def __init__(self, **ms: float) -> None:
        self.latents_stopwatch = Stopwatch(torch.device("cpu"))
        self.latents_stopwatch.ms.update(ms)
        self.decode_ms = {"decode": 30.0}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The seconds that perf_counter gives, as a list of one."""
    seconds = [100.0]
    monkeypatch.setattr(prompt_stages.time, "perf_counter", lambda: seconds[0])
    return seconds


def timed(clock: list[float]) -> tuple[PromptStages, dict[str, float] | None]:
    stages = PromptStages()
    session = TimedSession(text=5.0, switch=40.0, denoise=200.0, remember=50.0)
    stages.begin(7)
    stages.add_latents(7, session)  # type: ignore[arg-type]
    clock[0] += 0.4
    return stages, stages.finish(7, session, 10.0)  # type: ignore[arg-type]


def test_the_stages_add_up_to_what_has_passed(clock: list[float]) -> None:
    _, found = timed(clock)
    assert found == pytest.approx(
        {"text": 5, "recache": 40, "denoise": 200, "remember": 50, "decode": 30, "encode": 10, "other": 65}
    )
    assert found is not None and sum(found.values()) == pytest.approx(400)
    assert set(found) | {"waiting"} == set(STAGES)


def test_only_the_first_segment_of_a_prompt_has_stages(clock: list[float]) -> None:
    stages, _ = timed(clock)
    session: Any = TimedSession(denoise=200.0)
    assert stages.finish(7, session, 10.0) is None, "the second part of the same chunk"
    stages.add_latents(8, session)
    assert stages.finish(8, session, 10.0) is None, "no prompt begins with this chunk"


def test_a_prompt_may_begin_while_the_one_before_is_rendered(clock: list[float]) -> None:
    stages, session = PromptStages(), TimedSession(denoise=200.0)
    stages.begin(7)
    stages.add_latents(7, session)  # type: ignore[arg-type]
    stages.begin(8)
    assert stages.finish(7, session, 10.0) is not None  # type: ignore[arg-type]
    stages.begin(9)
    stages.begin(8)
    stages.add_latents(9, session)  # type: ignore[arg-type]
    assert stages.finish(9, session, 10.0) is None, "dropped by the prompt that began before it"  # type: ignore[arg-type]
