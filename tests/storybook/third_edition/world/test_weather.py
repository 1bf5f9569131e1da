"""Weather repeats after a period and is drawn only where there is some."""

import torch

from longlive.storybook.third_edition.world.weather import KINDS, PERIOD, add_weather


def test_each_kind_repeats_and_differs_from_the_others() -> None:
    seen = []
    for index in range(len(KINDS)):
        pictures = torch.full((3, 3, 40, 64), 0.5)
        amounts = torch.zeros(3, len(KINDS))
        amounts[:2, index] = 1
        add_weather(pictures, amounts, torch.tensor([2, 2 + PERIOD, 2]))
        assert torch.equal(pictures[0], pictures[1]) and not torch.equal(pictures[0], pictures[2])
        assert torch.equal(pictures[2], torch.full((3, 40, 64), 0.5)), "no weather changes nothing"
        seen.append(pictures[0])
    assert all((seen[i] - seen[j]).abs().mean() > 0.01 for i in range(3) for j in range(i))
