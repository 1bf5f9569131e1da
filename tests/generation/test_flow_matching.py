"""The timetable and the algebra between noise, velocity and clean latents."""

import pytest
import torch

from longlive.generation.flow_matching import (
    FlowSchedule,
    add_noise,
    clean_to_velocity,
    prediction_to_clean,
    velocity_to_clean,
)
from longlive.weights.family import BUILT_IN

RELEASED = FlowSchedule(5.0, (1000, 750, 500, 250))


def test_released_steps_are_warped_as_published() -> None:
    assert RELEASED.warped_steps == pytest.approx((1000.0, 937.5, 833.3333, 625.0), abs=1e-3)


def test_sigmas_fall_from_one_and_never_reach_zero() -> None:
    sigmas = RELEASED.sigmas
    assert sigmas.shape == (1000,) and sigmas[0] == 1
    assert (sigmas.diff() < 0).all()
    assert float(sigmas[-1]) == pytest.approx(0.00498, abs=1e-5)


def test_without_a_shift_sigma_is_the_even_grid() -> None:
    assert torch.allclose(FlowSchedule(1.0, (1000,)).sigmas, 1 - torch.arange(1000) / 1000, atol=1e-6)


def test_a_timestep_between_entries_takes_the_nearest_ones_sigma() -> None:
    """So timestep 0 has sigma 0.00498."""
    assert RELEASED.sigma_of(0.0) == float(RELEASED.sigmas[-1])
    assert RELEASED.sigma_of(937.6) == 0.9375
    timesteps = torch.tensor([[0.0, 1000.0], [937.6, 3.0]])
    expected = [[RELEASED.sigma_of(float(t)) for t in row] for row in timesteps]
    assert RELEASED.sigmas_of(timesteps).tolist() == expected


@pytest.mark.parametrize("sigma", [0.00498, 0.5, 1.0])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_velocity_is_noise_minus_clean(sigma: float, as_tensor: bool) -> None:
    torch.manual_seed(0)
    clean, noise = torch.randn(2, 3, 4, 5, 6), torch.randn(2, 3, 4, 5, 6)
    level = torch.full((2, 3, 1, 1, 1), sigma) if as_tensor else sigma
    noisy = add_noise(clean, noise, level)
    assert torch.allclose(velocity_to_clean(noise - clean, noisy, level), clean, atol=1e-5)
    assert torch.allclose(clean_to_velocity(clean, noisy, level), noise - clean, atol=1e-4)


def test_pure_noise_holds_nothing_of_the_clean_latents() -> None:
    clean, noise = torch.full((2,), 7.0), torch.randn(2)
    assert torch.equal(add_noise(clean, noise, 1.0), noise)


def test_a_prediction_is_read_as_its_checkpoint_says() -> None:
    output, noisy = torch.randn(3), torch.randn(3)
    assert prediction_to_clean(output, noisy, 0.5, "clean") is output
    assert prediction_to_clean(output.bfloat16(), noisy, 0.5, "clean").dtype == torch.float32
    assert torch.allclose(prediction_to_clean(output, noisy, 0.5, "velocity"), noisy - 0.5 * output)


def test_low_precision_keeps_its_dtype_and_is_computed_above_it() -> None:
    velocity, noisy = torch.randn(64).bfloat16(), torch.randn(64).bfloat16()
    clean = velocity_to_clean(velocity, noisy, torch.tensor(0.9375))
    assert clean.dtype == torch.bfloat16
    assert torch.equal(clean, (noisy.double() - 0.9375 * velocity.double()).bfloat16())
    assert add_noise(noisy, velocity, torch.tensor(0.5)).dtype == torch.bfloat16


def test_steps_can_be_as_they_are_and_others_for_the_first_chunk() -> None:
    causvid, causal_forcing = BUILT_IN["causvid"], BUILT_IN["causal-forcing-2step"]
    assert FlowSchedule.of(causvid).warped_steps == (1000.0, 757.0, 522.0)
    assert FlowSchedule.of(causvid).sigma_of(757.0) == pytest.approx(0.756757, abs=1e-6)
    assert FlowSchedule.of(causvid, first=True) == FlowSchedule.of(causvid)
    assert FlowSchedule.of(causal_forcing).warped_steps == pytest.approx((1000.0, 833.3333))
    first = FlowSchedule.of(causal_forcing, first=True)
    assert first.warped_steps == pytest.approx((1000.0, 937.5, 833.3333, 625.0))
