"""Teacher, critic, tokens and noise for the tests of objectives, at the size of the tiny transformer."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from longlive.config import Prediction
from longlive.generation.flow_matching import FlowSchedule
from longlive.models.transformer import CausalWanTransformer
from longlive.training.objectives.options import DmdOptions
from longlive.training.objectives.quirks import ReleasedQuirks
from longlive.training.objectives.scores import ScoreModels
from tests.support.tiny_transformer import CONFIG, TEXT_DIM, TEXT_LEN, random_latents, tiny_transformer

SCHEDULE = FlowSchedule(5.0, (1000, 750, 500, 250))
SHORT = FlowSchedule(5.0, (1000, 500))
TIMESTEPS = torch.tensor([900.0, 400.0])


def texts(seed: int = 0, batch: int = 1) -> Tensor:
    return torch.randn(batch, TEXT_LEN, TEXT_DIM, generator=torch.Generator().manual_seed(seed))


def other_transformer(prediction: Prediction = "velocity") -> CausalWanTransformer:
    """A second set of weights."""
    model = tiny_transformer(replace(CONFIG, prediction=prediction))
    for parameter in model.parameters():
        parameter.mul_(0.9)
    return model


def scores(guidance: float = 4.0, prediction: Prediction = "velocity", **quirks: bool) -> ScoreModels:
    teacher = tiny_transformer(replace(CONFIG, prediction=prediction))
    options = DmdOptions(guidance=guidance)
    return ScoreModels(teacher, other_transformer(prediction), SCHEDULE, options, ReleasedQuirks(**quirks))


def noise_of(chunk: int = 3, batch: int = 1) -> Callable[[int, int], Tensor]:
    """The noise of a rollout, by first latent and step."""
    return lambda start, step: random_latents(chunk, batch=batch, seed=1000 * step + start)
