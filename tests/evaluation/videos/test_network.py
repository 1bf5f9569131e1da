"""The small pretrained network: its packages are among those that the tests need."""

import importlib.util

import pytest
import torch

from longlive.evaluation.videos import network
from longlive.evaluation.videos.broken_clips import FPS, drawn_clip, mixed, textured_clip


def test_a_clip_is_more_like_itself_than_a_mix_of_two() -> None:
    assert network.is_installed()
    for clip, other in ((drawn_clip(1), textured_clip(1)), (textured_clip(2), drawn_clip(2))):
        good, bad = (network.network_scores(one, FPS)[network.NAME] for one in (clip, mixed(clip, other, 0)))
        assert good > bad + 10 and 0 < bad < good <= 100
    assert network.network_scores(clip[:1].expand(32, -1, -1, -1), FPS)[network.NAME] == pytest.approx(
        100, abs=1e-3
    )


def test_without_the_packages_there_is_no_such_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert network.network_scores(torch.zeros(32, 3, 16, 16, dtype=torch.uint8), FPS) == {}
