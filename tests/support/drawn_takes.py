"""True pictures for the tests of scores."""

import numpy as np
from torch import Tensor

from longlive.storybook.world.drawing import WIDTH, Scene, draw_story

MIDDLE = WIDTH / 2
SCENE = Scene("snow", "ball", "red", "stand")


def draw(scene: Scene = SCENE, num_frames: int = 24, x: float = MIDDLE) -> Tensor:
    """Pictures of one scene, uint8 (F, 3, H, W), whose subject starts ``x`` pixels from the left."""
    return draw_story([(scene, num_frames)], np.random.default_rng(0), start_x=x)
