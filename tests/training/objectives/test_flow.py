"""The flow-matching loss and its weights over timesteps."""

import math
from dataclasses import replace

import pytest
import torch

from longlive.config import Prediction
from longlive.generation.flow_matching import FlowSchedule
from longlive.training.objectives.flow import flow_loss, teacher_loss, timestep_weights
from tests.support.tiny_transformer import CONFIG, random_latents, tiny_transformer
from tests.training.objectives.test_scores import TIMETABLE, words


@pytest.mark.parametrize("shift", [1.0, 5.0, 8.0])
def test_the_weights_are_a_bell_around_500_of_mean_one_and_minimum_zero(shift: float) -> None:
    timetable = FlowSchedule(shift, ())
    weights, timesteps = timestep_weights(timetable).double(), timetable.sigmas.double() * 1000
    assert float(weights.mean()) == pytest.approx(1.0, rel=1e-5) and float(weights.min()) == 0.0
    highest = float(timesteps[weights.argmax()])
    assert abs(highest - 500) <= float((timesteps[:-1] - timesteps[1:]).max())
    lift = math.exp(-0.5)
    height = (math.exp(-2 * 0.2**2) - lift) / (1 - lift)
    at_300 = weights[(timesteps - 300).abs().argmin()] / weights.max()
    assert float(at_300) == pytest.approx(height, abs=0.01)


def test_the_loss_is_that_of_the_velocity() -> None:
    clean, predicted, noise = (random_latents(3, batch=2, seed=seed) for seed in range(3))
    sigma = torch.tensor([0.8, 0.3])
    level = sigma.view(-1, 1, 1, 1, 1)
    noisy = (1 - level) * clean + level * noise
    expected = ((noisy - predicted) / level - (noise - clean)).square()
    assert float(flow_loss(predicted, clean, sigma)) == pytest.approx(float(expected.mean()), rel=1e-5)
    weighted = flow_loss(predicted, clean, sigma, weights=torch.tensor([0.0, 2.0]))
    assert float(weighted) == pytest.approx(float(expected[1].mean()), rel=1e-5)


@pytest.mark.parametrize("prediction", ["velocity", "clean"])
def test_a_teachers_loss_is_weighted_by_its_timesteps(prediction: Prediction) -> None:
    model = tiny_transformer(replace(CONFIG, prediction=prediction))
    clean, noise, text = random_latents(4, batch=2), random_latents(4, batch=2, seed=1), words(batch=2)
    loss = teacher_loss(
        model, clean, text, timetable=TIMETABLE, uniform=torch.tensor([0.25, 0.9]), noise=noise
    )
    expected = []
    for sample, entry in enumerate((250, 900)):
        sigma = TIMETABLE.sigmas[entry]
        noisy = (1 - sigma) * clean[sample] + sigma * noise[sample]
        prompt = model.read_prompt(text[sample : sample + 1])
        output = model(noisy[None], float(sigma) * 1000, prompt)[0]
        velocity = output if prediction == "velocity" else (noisy - output) / sigma
        error = (velocity - (noise[sample] - clean[sample])).square().mean()
        expected.append(timestep_weights(TIMETABLE)[entry] * error)
    assert float(loss) == pytest.approx(float(torch.stack(expected).mean()), rel=1e-4)


def test_with_even_weights_and_a_floor_of_one_a_teachers_loss_is_the_error_of_its_clean_latents() -> None:
    model = tiny_transformer(replace(CONFIG, prediction="clean"))
    clean, noise, text = random_latents(4, batch=2), random_latents(4, batch=2, seed=1), words(batch=2)
    even = teacher_loss(
        model,
        clean,
        text,
        timetable=TIMETABLE,
        uniform=torch.tensor([0.0, 0.9]),
        noise=noise,
        sigma_floor=1.0,
        is_weighted=False,
    )
    sigma = TIMETABLE.sigmas[torch.tensor([0, 900])]
    level = sigma.view(-1, 1, 1, 1, 1)
    output = model((1 - level) * clean + level * noise, sigma.unsqueeze(1) * 1000, model.read_prompt(text))
    assert float(even) == pytest.approx(float((output - clean).square().mean()), rel=1e-4)


def test_a_teacher_learns_a_clip() -> None:
    model = tiny_transformer().requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    clean, noise, losses = random_latents(3), random_latents(3, seed=1), []
    for _ in range(25):
        loss = teacher_loss(
            model, clean, words(), timetable=TIMETABLE, uniform=torch.tensor([0.3]), noise=noise
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
