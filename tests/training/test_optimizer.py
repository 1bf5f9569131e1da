"""Muon, AdamW, the schedule and the moving average do what their names say."""

import torch
from torch import nn

from longlive.training.optimizer import MovingAverage, MuonAdamW, learning_rate, orthogonalise


def test_orthogonalise_brings_every_singular_value_near_one():
    torch.manual_seed(0)
    for shape in ((2, 24, 60), (2, 60, 24), (1, 32, 32)):
        singular = torch.linalg.svdvals(orthogonalise(torch.randn(shape)).float())
        assert singular.max() < 1.35 and singular.median() > 0.6


def test_it_fits_a_small_regression():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 16))
    x = torch.randn(128, 16)
    target = x @ torch.randn(16, 16) / 4
    optimizer = MuonAdamW(model, lr=2e-2)
    losses = []
    for step in range(150):
        optimizer.set_lr(learning_rate(step, 150, 2e-2, warm_up=5))
        loss = (model(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_named_matrices_go_to_adam():
    model = nn.ModuleDict({"inner": nn.Linear(16, 16), "embedding": nn.Linear(16, 16)})
    muon, adam = MuonAdamW(model, adam_names=("embedding",)).param_groups
    assert [id(p) for p in muon["params"]] == [id(model["inner"].weight)]
    assert len(adam["params"]) == 3


def test_the_learning_rate_warms_up_stays_and_falls():
    rates = [learning_rate(step, 1000, 1.0) for step in range(1000)]
    assert rates[0] < 0.05 and max(rates) == 1.0 and rates[500] == 1.0
    assert rates[700] > rates[900] > rates[999] > 0


def test_the_average_follows_the_module():
    model = nn.Linear(4, 4)
    average = MovingAverage(model, 0.9)
    nn.init.ones_(model.weight)
    for step in range(200):
        average.update(model, step)
    other = nn.Linear(4, 4)
    average.copy_to(other)
    assert torch.allclose(other.weight, torch.ones(4, 4), atol=1e-4)
