"""Prompts of the picture-book world without end, drawn on the fly."""

from dataclasses import dataclass

import numpy as np

from longlive.storybook.dataset import random_turn
from longlive.storybook.world.captions import caption
from longlive.storybook.world.drawing import random_scene
from longlive.training.data.prompt_files import PromptPair

STREAM = 7


@dataclass(frozen=True)
class StorybookPrompts:
    """Captions of random scenes and of the scenes that they turn to: the same for the same seed and index.

    Combinations of attributes that are held out for evaluation never come.

    Attributes:
        complete_share: how many pairs name every attribute, without slips of the pen, from 0 to 1.
    """

    complete_share: float = 0.5

    def prompt_at(self, seed: int, index: int) -> str:
        """The prompt of sample ``index`` (0, 1, …) of the run ``seed``."""
        return self.pair_at(seed, index).prompt

    def pair_at(self, seed: int, index: int) -> PromptPair:
        """The same prompt, with the one to switch to."""
        rng = np.random.default_rng([seed, STREAM, index])
        complete = bool(rng.random() < self.complete_share)
        scene = random_scene(rng)
        turned = random_turn(scene, rng)
        return PromptPair(caption(scene, rng, complete=complete), caption(turned, rng, complete=complete))
