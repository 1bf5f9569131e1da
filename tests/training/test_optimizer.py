"""Muon orthogonalises its updates, and AdamW takes the rest."""

import torch
from torch import nn

from longlive.training.optimizer import MuonAdamW, orthogonalise
from longlive.training.recipe import LearnerOptions


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
    options, losses = LearnerOptions(lr=2e-2, warm_up=5, decay=0.4), []
    for step in range(150):
        optimizer.set_lr(options.lr_at(step, 150))
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
