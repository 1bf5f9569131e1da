"""A batch of streams shows what sessions show, and its branches do not disturb each other."""

from pathlib import Path

import pytest
import torch

import longlive
from longlive.evaluation.stream import BatchStream

PROMPTS = ["a red ball jumps on a green meadow", "a blue cat spins in the snow"]


@pytest.fixture(scope="module")
def models() -> longlive.ModelBundle:
    return longlive.load_models("storybook")


@torch.no_grad()
@pytest.mark.slow
def test_a_batch_shows_what_sessions_show(models: longlive.ModelBundle):
    stream = BatchStream(models, PROMPTS, [5, 6])
    first = stream.next_pictures(2)
    stream.switch(PROMPTS[::-1], "soft")
    pictures_of_both = torch.cat([first, stream.next_pictures(1)], 1)
    for prompt, other, seed, pictures in zip(PROMPTS, PROMPTS[::-1], [5, 6], pictures_of_both, strict=True):
        session = longlive.Session(models, prompt, seed=seed)
        chunks = [session.next_chunk() for _ in range(2)]
        session.set_prompt(other, switch="soft")
        chunks.append(session.next_chunk())
        expected = torch.cat([torch.from_numpy(chunk.frames) for chunk in chunks]).permute(0, 3, 1, 2)
        assert (expected.int() - pictures.int()).abs().max() <= 2


@torch.no_grad()
@pytest.mark.parametrize("mode", ["soft", "hard", "keep"])
@pytest.mark.slow
def test_a_branch_goes_on_as_its_trunk_would_and_leaves_it_alone(models: longlive.ModelBundle, mode: str):
    trunk, twin = (BatchStream(models, PROMPTS, [5, 6]) for _ in range(2))
    trunk.next_pictures(2), twin.next_pictures(2)
    branch = trunk.branch()
    branch.switch(PROMPTS[::-1], mode)
    branch.next_pictures(1)
    assert torch.equal(trunk.next_pictures(1), twin.next_pictures(1))


@torch.no_grad()
def test_the_sink_is_chosen_by_the_caller(noise_folder: Path) -> None:
    noise = longlive.load_models(noise_folder)
    none, three = (
        BatchStream(noise, PROMPTS[:1], [5], window=6, sink=sink).next_pictures(4) for sink in (0, 3)
    )
    assert torch.equal(none[:, :21], three[:, :21])
    assert not torch.equal(none[:, 33:], three[:, 33:])
