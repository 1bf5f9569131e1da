"""Says how much of what a prompt names is seen in pictures, for models of the storybook's world."""

from collections.abc import Callable

import numpy as np
import torch

from longlive.config import ModelConfig
from longlive.storybook.prompt_reader import read_prompt
from longlive.storybook.world.drawing import HEIGHT, WIDTH
from longlive.storybook.world.oracle import read

MODEL_NAME = "storybook"


def judge_of(config: ModelConfig) -> Callable[[str, np.ndarray], float | None] | None:
    """What judges a model's pictures by its prompts: ``judge`` for the storybook model, None for others."""
    is_storybook = config.name == MODEL_NAME and (config.height, config.width) == (HEIGHT, WIDTH)
    return judge if is_storybook else None


@torch.no_grad()
def judge(prompt: str, pictures: np.ndarray) -> float | None:
    """The share of the attributes that a prompt names which the oracle reads as they are named, in [0, 1].

    None if it names none: nobody can say then how well the pictures fit.

    Args:
        prompt: as it was sent.
        pictures: uint8 (F, 80, 128, 3), at least 8; an action shows in 24.
    """
    named = read_prompt(prompt)
    if not named:
        return None
    reading = read(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    return sum(getattr(reading, name) == value for name, value in named.items()) / len(named)
