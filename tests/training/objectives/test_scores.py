"""What teacher and critic see in a noisy clip."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from longlive.config import Prediction
from longlive.generation.flow_matching import FlowSchedule
from longlive.models.transformer import CausalWanTransformer
from longlive.training.objectives.options import DmdOptions, ReleasedQuirks
from longlive.training.objectives.scores import Scores, predict_clean
from tests.support.tiny_transformer import CONFIG, TEXT_DIM, TEXT_LEN, random_latents, tiny_transformer

TIMETABLE = FlowSchedule(5.0, (1000, 750, 500, 250))
TIMESTEPS = torch.tensor([900.0, 400.0])
CLOSE = {"atol": 2e-5, "rtol": 1e-5}


def words(seed: int = 0, batch: int = 1) -> Tensor:
    return torch.randn(batch, TEXT_LEN, TEXT_DIM, generator=torch.Generator().manual_seed(seed))


def other_transformer(prediction: Prediction = "velocity") -> CausalWanTransformer:
    """A second set of weights."""
    model = tiny_transformer(replace(CONFIG, prediction=prediction))
    for parameter in model.parameters():
        parameter.mul_(0.9)
    return model


def scores(guidance: float = 4.0, prediction: Prediction = "velocity", **defects: bool) -> Scores:
    teacher = tiny_transformer(replace(CONFIG, prediction=prediction))
    options = DmdOptions(guidance=guidance)
    return Scores(teacher, other_transformer(prediction), TIMETABLE, options, ReleasedQuirks(**defects))


def plainly_guided(judges: Scores, noisy: Tensor) -> tuple[Tensor, Tensor]:
    teacher = judges.teacher
    wanted, unwanted = (
        predict_clean(teacher, noisy, TIMESTEPS, teacher.read_prompt(words(seed)), TIMETABLE)
        for seed in (0, 1)
    )
    return wanted, unwanted


def test_the_teacher_is_guided_in_the_usual_convention() -> None:
    judges, noisy = scores(guidance=2.5), random_latents(5, batch=2)
    wanted, unwanted = plainly_guided(judges, noisy)
    guided = judges.teacher_clean(noisy, TIMESTEPS, words(0), words(1))
    assert torch.allclose(guided, unwanted + 2.5 * (wanted - unwanted), **CLOSE)


def test_guidance_of_one_does_not_ask_what_to_leave() -> None:
    judges, noisy = scores(guidance=1.0), random_latents(5, batch=2)
    wanted, _ = plainly_guided(judges, noisy)
    assert torch.allclose(judges.teacher_clean(noisy, TIMESTEPS, words(0), words(1)), wanted, **CLOSE)


def test_the_released_guidance_of_three_is_four_in_the_usual_convention() -> None:
    noisy = random_latents(5, batch=2)
    released = scores(guidance=3.0, doubles_guidance=True)
    usual = scores(guidance=4.0)
    seen = [judges.teacher_clean(noisy, TIMESTEPS, words(0), words(1)) for judges in (released, usual)]
    assert torch.allclose(*seen, atol=1e-4)
    assert not torch.allclose(
        scores(guidance=3.0).teacher_clean(noisy, TIMESTEPS, words(0), words(1)), seen[1]
    )


def test_timesteps_are_whole_ones_shifted_and_clamped() -> None:
    """Entry 590 is what the golden case drew."""
    uniform = torch.tensor([0.59, 0.5909, 0.0, 0.003, 0.999])
    found = scores().timesteps(uniform)
    assert found.tolist() == pytest.approx([877.9762, 877.9762, 20.0, 20.0, 980.0], abs=1e-3)


def test_noise_is_mixed_in_at_each_samples_level_and_without_the_clips_history() -> None:
    clip = random_latents(3, batch=2).requires_grad_(True)
    noise = random_latents(3, batch=2, seed=1)
    noisy = scores().noisy(clip, TIMESTEPS, noise)
    assert not noisy.requires_grad
    for sample, sigma in enumerate(TIMETABLE.sigmas_of(TIMESTEPS).tolist()):
        expected = (1 - sigma) * clip[sample] + sigma * noise[sample]
        assert torch.allclose(noisy[sample], expected, atol=1e-6)


@pytest.mark.parametrize("prediction", ["velocity", "clean"])
def test_all_latents_of_a_clip_see_each_other(prediction: Prediction) -> None:
    judges, noisy = scores(prediction=prediction), random_latents(6)
    changed = noisy.clone()
    changed[:, -1] += 1
    before, after = (judges.critic_clean(x, torch.tensor([900.0]), words()) for x in (noisy, changed))
    assert not torch.allclose(before[:, 0], after[:, 0], atol=1e-4)


@pytest.mark.parametrize("prediction", ["velocity", "clean"])
def test_samples_of_a_batch_are_judged_each_at_its_own_timestep(prediction: Prediction) -> None:
    judges, noisy, text = scores(prediction=prediction), random_latents(4, batch=2), words(3, batch=2)
    together = judges.critic_clean(noisy, TIMESTEPS, text)
    alone = [judges.critic_clean(noisy[i : i + 1], TIMESTEPS[i : i + 1], text[i : i + 1]) for i in (0, 1)]
    assert torch.allclose(together, torch.cat(alone), **CLOSE)


def test_the_second_timetable_changes_only_how_velocities_are_read() -> None:
    noisy = random_latents(4, batch=2)
    ours, released = scores(), scores(has_two_timetables=True)
    assert torch.equal(ours.sigmas(TIMESTEPS), released.sigmas(TIMESTEPS))
    seen, seen_by_8 = (judges.critic_clean(noisy, TIMESTEPS, words()) for judges in (ours, released))
    sigmas = [FlowSchedule(shift, ()).sigmas_of(TIMESTEPS).view(-1, 1, 1, 1, 1) for shift in (5.0, 8.0)]
    assert not torch.equal(seen, seen_by_8)
    assert torch.allclose((noisy - seen) / sigmas[0], (noisy - seen_by_8) / sigmas[1], atol=1e-4)
    clean = [
        scores(prediction="clean", has_two_timetables=two).critic_clean(noisy, TIMESTEPS, words())
        for two in (False, True)
    ]
    assert torch.equal(*clean)


def test_the_teacher_never_carries_gradients_and_the_critic_does() -> None:
    judges = scores()
    judges.teacher.requires_grad_(True)
    judges.critic.requires_grad_(True)
    noisy = random_latents(3, batch=2)
    assert not judges.teacher_clean(noisy, TIMESTEPS, words(0), words(1)).requires_grad
    judges.critic_clean(noisy, TIMESTEPS, words()).square().mean().backward()
    assert all(parameter.grad is not None for parameter in judges.critic.parameters())
