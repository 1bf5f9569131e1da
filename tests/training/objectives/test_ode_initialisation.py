"""The teacher's ODE, and the causal student that learns its ends."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from longlive.config import Prediction, StreamConfig
from longlive.generation.flow_matching import FlowSchedule, prediction_to_clean
from longlive.models.kv_cache import KVCache
from longlive.training.objectives.ode_initialisation import OdePairs, initialisation_loss, ode_pairs
from tests.support.tiny_transformer import CONFIG, TOKENS_PER_LATENT, random_latents, tiny_transformer
from tests.training.objectives.test_scores import TIMETABLE, scores, words

STREAM = StreamConfig(window=6)
STEPS = torch.tensor([[0, 2, 3], [1, 1, 0]])


@dataclass(frozen=True)
class Sure:
    """Scores whose teacher sees the same clean latents in all noise, and counts how often it is asked."""

    answer: Tensor
    asked: list[float]
    timetable: FlowSchedule = TIMETABLE

    def teacher_clean(self, noisy: Tensor, timesteps: Tensor, text: Tensor, negative: Tensor) -> Tensor:
        self.asked.append(float(timesteps[0]))
        return self.answer


def a_path() -> OdePairs:
    noisy = torch.stack([random_latents(9, batch=2, seed=seed) for seed in range(4)])
    return OdePairs(noisy, random_latents(9, batch=2, seed=9))


def loss_of(pairs: OdePairs, prediction: Prediction = "velocity", steps: Tensor = STEPS) -> Tensor:
    model = tiny_transformer(replace(CONFIG, prediction=prediction))
    return initialisation_loss(
        model,
        pairs,
        words(),
        timetable=TIMETABLE,
        stream=STREAM,
        tokens_per_latent=TOKENS_PER_LATENT,
        steps=steps,
    )


@pytest.mark.parametrize("num_steps", [4, 48])
def test_a_teacher_who_is_sure_gives_a_straight_path_seen_at_the_students_levels(num_steps: int) -> None:
    noise, answer = random_latents(3), random_latents(3, seed=1)
    sure = Sure(answer, [])
    pairs = ode_pairs(sure, noise, words(0), words(1), num_steps=num_steps)
    assert torch.allclose(pairs.clean, answer, atol=1e-5)
    for noisy, timestep in zip(pairs.noisy, TIMETABLE.warped_steps, strict=True):
        sigma = timestep / 1000
        assert torch.allclose(noisy, (1 - sigma) * answer + sigma * noise, atol=1e-5)
    assert sure.asked == sorted(sure.asked, reverse=True) and len(sure.asked) >= num_steps


def test_more_steps_come_nearer_to_the_end_of_the_ode() -> None:
    judges, noise = scores(guidance=1.5), random_latents(3)
    ends = [ode_pairs(judges, noise, words(0), words(1), num_steps=n).clean for n in (4, 20, 60)]
    assert (ends[1] - ends[2]).abs().mean() < (ends[0] - ends[2]).abs().mean()


@pytest.mark.parametrize("prediction", ["velocity", "clean"])
def test_the_loss_is_the_error_of_each_chunk_seen_through_the_cache(prediction: Prediction) -> None:
    pairs, model = a_path(), tiny_transformer(replace(CONFIG, prediction=prediction))
    prompt, errors = model.read_prompt(words()), []
    for sample in (0, 1):
        cache = KVCache(CONFIG, STREAM, TOKENS_PER_LATENT)
        for number in range(3):
            chunk = slice(3 * number, 3 * number + 3)
            step = int(STEPS[sample, number])
            timestep, noisy = TIMETABLE.warped_steps[step], pairs.noisy[step, sample : sample + 1, chunk]
            output = model(noisy, timestep, prompt, cache, start=3 * number)
            seen = prediction_to_clean(output, noisy, timestep / 1000, prediction)
            clean = pairs.clean[sample : sample + 1, chunk]
            errors.append((seen - clean).square().mean())
            model.remember(clean, 0.0, prompt, cache, start=3 * number)
    assert float(loss_of(pairs, prediction)) == pytest.approx(float(torch.stack(errors).mean()), rel=1e-4)


def test_a_student_that_is_right_has_no_loss() -> None:
    """A clean prediction of zeros for ends of zeros."""
    model = tiny_transformer(replace(CONFIG, prediction="clean"))
    model.proj_out.weight.zero_()
    model.proj_out.bias.zero_()
    pairs = OdePairs(a_path().noisy, torch.zeros_like(a_path().clean))
    found = initialisation_loss(
        model,
        pairs,
        words(),
        timetable=TIMETABLE,
        stream=STREAM,
        tokens_per_latent=TOKENS_PER_LATENT,
        steps=STEPS,
    )
    assert float(found) == 0.0


def test_gradients_pass_through_what_is_remembered() -> None:
    """A later chunk's error reaches an earlier chunk's latents, which only the cache hands on."""

    def slope(num_latents: int) -> Tensor:
        clean = a_path().clean[:, :num_latents].requires_grad_(True)
        loss = loss_of(
            OdePairs(a_path().noisy[:, :, :num_latents], clean), steps=STEPS[:, : num_latents // 3]
        )
        return torch.autograd.grad(loss * num_latents, clean)[0][:, :3]

    assert not torch.allclose(slope(6), slope(3), atol=1e-4)
