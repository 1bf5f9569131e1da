"""Optical flow finds motions that are known."""

import pytest
import torch

from longlive.evaluation.videos.broken_clips import textured_clip
from longlive.evaluation.videos.flow import dense_flow, gradients, warp


def picture() -> torch.Tensor:
    return textured_clip(3)[:1].float().mean(1, keepdim=True) / 255


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.5, -0.25), (2.0, 1.0), (-5.0, 3.0)])
def test_the_flow_of_a_shifted_picture_is_its_shift(shift: tuple[float, float]) -> None:
    first = picture()
    moved = warp(first, -torch.tensor(shift).view(1, 2, 1, 1).expand(1, 2, *first.shape[-2:]))
    flow = dense_flow(first, moved)[..., 12:-12, 12:-12]
    assert flow.mean((0, 2, 3)).tolist() == pytest.approx(shift, abs=0.15)


def test_a_picture_that_is_read_where_it_is_stays_the_same() -> None:
    first = picture()
    assert torch.allclose(warp(first, torch.zeros(1, 2, *first.shape[-2:])), first, atol=1e-5)


def test_gradients_of_a_ramp_are_its_slope() -> None:
    ramp = torch.arange(12.0).view(1, 1, 1, 12).expand(1, 1, 8, 12)
    across, down = gradients(ramp)
    assert (across[..., 1:-1] == 1).all() and (down == 0).all()
