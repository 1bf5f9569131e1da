"""Pictures are a pure function of stories and time, and show every attribute."""

from dataclasses import replace

import pytest
import torch

from longlive.storybook.third_edition.world.drawing import draw_stories, draw_timeline
from longlive.storybook.third_edition.world.motion import build_timeline
from longlive.storybook.third_edition.world.scene import ATTRIBUTES, Scene

CAT = Scene("meadow", "cat", "orange", "stand")
SMALL = (40, 64)


def test_pictures_do_not_depend_on_what_else_is_drawn() -> None:
    stories = [[(CAT, 6)], [(Scene("space", "robot", "blue", "dance", prop="hat"), 6)]]
    together = draw_stories(stories, size=SMALL)
    assert together.shape == (2, 6, 3, *SMALL) and together.min() >= 0 and together.max() <= 1
    alone = torch.cat([draw_stories([story], size=SMALL) for story in stories])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_chosen_pictures_are_those_of_the_whole_story() -> None:
    story = [[(Scene("city", "dog", "red", "right"), 9), (Scene("castle", "dog", "red", "jump"), 12)]]
    whole = draw_stories(story, size=SMALL)
    chosen = torch.tensor([[0, 8, 11, 20]])
    torch.testing.assert_close(draw_timeline(build_timeline(story), SMALL, chosen), whole[:, chosen[0]])


@pytest.mark.parametrize("attribute", list(ATTRIBUTES))
def test_each_value_of_an_attribute_looks_different(attribute: str) -> None:
    values = ATTRIBUTES[attribute]
    stories = [[(replace(CAT, **{attribute: value}), 13)] for value in values]
    pictures = draw_stories(stories, size=SMALL)[:, [3, 8, 12]]
    for i in range(len(values)):
        for j in range(i):
            assert (pictures[i] - pictures[j]).abs().mean() > 5e-4, (values[i], values[j])


def test_a_new_prop_fades_in_and_the_scenery_scrolls() -> None:
    puts_on_a_hat = [(CAT, 6), (replace(CAT, prop="hat"), 18)]
    pictures = draw_stories([puts_on_a_hat, [(CAT, 24)]], size=SMALL)
    difference = (pictures[0] - pictures[1]).abs().mean((1, 2, 3))
    assert difference[:6].max() < 1e-6 < difference[6] < difference[17]
    walk = draw_stories([[(replace(CAT, action="right"), 17)]], size=SMALL)[0, :, :, :, :8]
    assert (walk[16] - walk[0]).abs().mean() > 0.01
