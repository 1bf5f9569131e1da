"""Which chunks are judged, with which pictures."""

import numpy as np
import pytest

from longlive.chunks import FrameChunk
from longlive.serving.rendering.idle_judge import ChunkFit, IdleJudge


def chunk(index: int, prompt: int = 0, *, count: int = 12, ends: bool = True) -> FrameChunk:
    pictures = np.full((count, 8, 8, 3), index, np.uint8)
    return FrameChunk(index, prompt, f"prompt {prompt}", 12 * index, pictures, 16, ends)


class Judge:
    """Remembers what it was asked."""

    def __init__(self, fit: float | None = 0.5) -> None:
        self.fit, self.asked = fit, []

    def __call__(self, prompt: str, pictures: np.ndarray) -> float | None:
        self.asked.append((prompt, pictures[:, 0, 0, 0].tolist()))
        return self.fit


def test_a_chunk_is_judged_once_with_those_before_it_under_the_same_prompt() -> None:
    judge = Judge()
    idle = IdleJudge(judge)
    for one in (chunk(0, count=9), chunk(1), chunk(2)):
        idle.add(one)
        idle.judge_one()
        idle.judge_one()
    assert judge.asked == [
        ("prompt 0", [0] * 9),
        ("prompt 0", [0] * 9 + [1] * 12),
        ("prompt 0", [1] * 12 + [2] * 12),
    ]
    assert idle.take() == (ChunkFit(0, 0, 0.5), ChunkFit(1, 0, 0.5), ChunkFit(2, 0, 0.5))
    assert idle.take() == ()


def test_another_prompt_begins_with_its_own_pictures_and_a_part_is_waited_for() -> None:
    judge = Judge()
    idle = IdleJudge(judge)
    idle.add(chunk(4))
    idle.add(chunk(5, 1, count=4, ends=False))
    idle.judge_one()
    assert judge.asked == []
    idle.add(chunk(5, 1, count=8))
    idle.judge_one()
    assert judge.asked == [("prompt 1", [5] * 12)]
    assert idle.take() == (ChunkFit(5, 1, 0.5),)


def test_a_judge_that_breaks_is_not_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    asked = []

    def judge(prompt: str, pictures: np.ndarray) -> float:
        asked.append(prompt)
        raise RuntimeError("no eyes")

    idle = IdleJudge(judge)
    for one in (chunk(0), chunk(1)):
        idle.add(one)
        idle.judge_one()
    assert idle.take() == () and len(asked) == 1
    assert "chunk 0 could not be judged" in caplog.text


def test_what_cannot_be_judged_is_left_out() -> None:
    for judge in (None, Judge(None)):
        idle = IdleJudge(judge)
        idle.add(chunk(0, count=1))
        idle.judge_one()
        idle.add(chunk(1))
        idle.judge_one()
        assert idle.take() == ()
