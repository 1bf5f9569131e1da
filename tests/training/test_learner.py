"""One update: clipping, the learning rate, the moving average, and a state that brings all of it back."""

import copy

import pytest
import torch
from torch import nn

from longlive import ConfigError
from longlive.training.learner import Learner
from longlive.training.processes import Processes
from longlive.training.recipe import LearnerOptions, RunOptions


def learner(**options: object) -> Learner:
    torch.manual_seed(0)
    module = nn.Linear(32, 32)
    module.bias.requires_grad_(False)
    return Learner(module, LearnerOptions(**({"lr": 0.1} | options)), RunOptions(steps=10), Processes())  # type: ignore[arg-type]


def updated(subject: Learner, step: int) -> float:
    rng = torch.Generator().manual_seed(step)
    subject.module(torch.randn(4, 32, generator=rng)).square().sum().backward()
    return subject.step(step)


def test_the_norm_is_told_before_clipping_and_the_gradient_is_forgotten() -> None:
    subject = learner(clip=1e-3)
    assert updated(subject, 0) > 1.0
    assert all(value.grad is None for value in subject.parameters.values())
    assert list(subject.parameters) == ["weight"], "what is frozen is no parameter of the learner"


def test_the_learning_rate_of_the_step_is_used() -> None:
    subject = learner(warm_up=4)
    updated(subject, 0)
    assert subject.optimizer.param_groups[0]["lr"] == pytest.approx(0.025)


def test_the_average_follows_and_takes_the_place_of_the_parameters_only_for_a_while() -> None:
    subject = learner(ema=0.9)
    first = subject.parameters["weight"].detach().clone()
    updated(subject, 0)
    now = subject.parameters["weight"].detach().clone()
    with subject.averaged() as module:
        torch.testing.assert_close(module.weight.detach(), first.lerp(now, 1 - 1 / 10))
    assert torch.equal(subject.parameters["weight"], now)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_state_brings_everything_back(optimizer: str) -> None:
    subject, other = learner(ema=0.9, optimizer=optimizer), learner(ema=0.9, optimizer=optimizer)
    updated(subject, 0)
    other.load(copy.deepcopy(subject.state()))
    for one in (subject, other):
        updated(one, 1)
    ours, others = subject.state(), other.state()
    for part in ("parameters", "average"):
        assert torch.equal(ours[part]["weight"], others[part]["weight"])


def test_muon_is_not_for_sharded_models() -> None:
    with pytest.raises(ConfigError, match="it needs whole matrices"):
        Learner(nn.Linear(2, 2), LearnerOptions(optimizer="muon"), RunOptions(shard=True), Processes())
