"""The losses of generator and critic on a clip."""

import pytest
import torch
from torch import Tensor

from longlive.config import Prediction
from longlive.generation.flow_matching import clean_to_velocity
from longlive.training.objectives.dmd import critic_loss, generator_loss, kl_gradient
from longlive.training.objectives.options import DmdOptions, ReleasedQuirks
from longlive.training.objectives.scores import Scores
from tests.support.tiny_transformer import random_latents, tiny_transformer
from tests.training.objectives.test_scores import TIMESTEPS, TIMETABLE, scores, words

MASK = torch.tensor([False, True, True, False, True])


def asked(judges: Scores, clip: Tensor, mask: Tensor | None = None) -> dict[str, object]:
    return {
        "scores": judges,
        "clip": clip,
        "text": words(0),
        "negative": words(1),
        "timesteps": TIMESTEPS,
        "noise": random_latents(5, batch=2, seed=8),
        "mask": mask,
    }


def a_clip() -> Tensor:
    return random_latents(5, batch=2, seed=7).requires_grad_(True)


@pytest.mark.parametrize(
    "mask", [None, MASK, torch.stack((MASK, ~MASK))], ids=["all", "mask", "each its own"]
)
def test_the_losss_derivative_is_the_gradient_over_the_number_of_elements_that_count(
    mask: Tensor | None,
) -> None:
    clip = a_clip()
    found = generator_loss(**asked(scores(), clip, mask))
    found.loss.backward()
    counts = torch.ones(2, 5, dtype=torch.bool) if mask is None else mask.expand(2, 5)
    num_elements = int(counts.sum()) * clip[0, 0].numel()
    expected = found.gradient * counts[..., None, None, None] / num_elements
    assert torch.allclose(clip.grad, expected, atol=1e-9)
    kept = found.gradient[counts].double()
    assert float(found.loss.detach()) == pytest.approx(float(0.5 * kept.square().mean()), rel=1e-6)


@pytest.mark.parametrize("prediction", ["velocity", "clean"])
def test_the_gradient_is_what_the_critic_sees_minus_what_the_teacher_sees(prediction: Prediction) -> None:
    judges, clip = scores(prediction=prediction), a_clip()
    gradient = kl_gradient(**asked(judges, clip))
    noisy = judges.noisy(clip, TIMESTEPS, random_latents(5, batch=2, seed=8))
    wanted = judges.teacher_clean(noisy, TIMESTEPS, words(0), words(1))
    difference = judges.critic_clean(noisy, TIMESTEPS, words(0)) - wanted
    for sample in (0, 1):
        size = (clip[sample] - wanted[sample]).abs().mean()
        assert torch.allclose(gradient[sample], difference[sample] / size, atol=1e-5)


def test_where_teacher_and_critic_agree_the_generator_stays() -> None:
    judges = Scores(tiny_transformer(), tiny_transformer(), TIMETABLE, DmdOptions(guidance=1.0))
    assert kl_gradient(**asked(judges, a_clip())).abs().max() < 1e-5


def test_the_normaliser_counts_only_the_latents_that_carry_loss_but_for_the_defect() -> None:
    """As released, the first latents of a clip, which are not trained, change the size of the gradient."""
    judges, clip = scores(), a_clip()
    released = scores(normalises_overlap=True)
    whole = kl_gradient(**asked(judges, clip))
    masked, as_released = (kl_gradient(**asked(found, clip, MASK)) for found in (judges, released))
    assert torch.equal(as_released, whole)
    noisy = judges.noisy(clip, TIMESTEPS, random_latents(5, batch=2, seed=8))
    far = (clip - judges.teacher_clean(noisy, TIMESTEPS, words(0), words(1))).abs()
    ratio = far.mean((1, 2, 3, 4)) / far[:, MASK].mean((1, 2, 3, 4))
    assert torch.allclose(masked, whole * ratio.view(-1, 1, 1, 1, 1), atol=1e-5)


@pytest.mark.parametrize("hides", [False, True])
def test_nan_reaches_the_loss_but_for_the_defect(hides: bool) -> None:
    judges = scores(hides_nan=hides)
    judges.critic.proj_out.bias[0] = float("nan")
    assert bool(generator_loss(**asked(judges, a_clip())).loss.isnan()) is not hides


@pytest.mark.parametrize("prediction", ["velocity", "clean"])
def test_the_critics_loss_is_the_error_of_its_velocity(prediction: Prediction) -> None:
    judges, clip, noise = scores(prediction=prediction), a_clip(), random_latents(5, batch=2, seed=9)
    loss = critic_loss(judges, clip, words(0), timesteps=TIMESTEPS, noise=noise, mask=MASK)
    noisy = judges.noisy(clip, TIMESTEPS, noise)
    sigma = judges.sigmas(TIMESTEPS).view(-1, 1, 1, 1, 1)
    velocity = clean_to_velocity(judges.critic_clean(noisy, TIMESTEPS, words(0)), noisy, sigma)
    expected = (velocity - (noise - clip))[:, MASK].square().mean()
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-4)


def test_the_critics_loss_reaches_the_critic_alone() -> None:
    judges, clip = scores(), a_clip()
    judges.critic.requires_grad_(True)
    critic_loss(
        judges, clip, words(0), timesteps=TIMESTEPS, noise=random_latents(5, batch=2, seed=9)
    ).backward()
    assert clip.grad is None
    assert all(parameter.grad is not None for parameter in judges.critic.parameters())


def test_the_generators_loss_reaches_the_clip_alone() -> None:
    judges, clip = scores(), a_clip()
    judges.critic.requires_grad_(True)
    generator_loss(**asked(judges, clip)).loss.backward()
    assert clip.grad is not None
    assert all(parameter.grad is None for parameter in judges.critic.parameters())


def test_a_floor_keeps_low_noise_from_ruling_the_critics_loss() -> None:
    judges, clip, noise = scores(prediction="clean"), a_clip().detach(), random_latents(5, batch=2, seed=9)
    floored = Scores(judges.teacher, judges.critic, TIMETABLE, DmdOptions(sigma_floor=0.5), ReleasedQuirks())
    low = torch.tensor([100.0, 100.0])
    losses = [
        float(critic_loss(found, clip, words(0), timesteps=low, noise=noise)) for found in (judges, floored)
    ]
    sigma = float(judges.sigmas(low)[0])
    assert losses[1] == pytest.approx(losses[0] * (sigma / 0.5) ** 2, rel=1e-4)
