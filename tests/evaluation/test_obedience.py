"""Evaluation tells stories as sessions do, and its branches do not disturb each other."""

import pytest
import torch

import longlive
from longlive.evaluation.obedience import BatchTeller, codec_quality, draw_trials, evaluate_prompts
from longlive.storybook.world.drawing import is_held_out

PROMPTS = ["a red ball jumps on a green meadow", "a blue cat spins in the snow"]


@pytest.fixture(scope="module")
def models() -> longlive.ModelBundle:
    return longlive.load_models("storybook")


@torch.no_grad()
def test_a_batch_of_stories_shows_what_sessions_show(models: longlive.ModelBundle):
    teller = BatchTeller(models, PROMPTS, [5, 6])
    first = teller.tell(2)
    teller.switch(PROMPTS[::-1], "soft")
    told = torch.cat([first, teller.tell(1)], 1)
    for prompt, other, seed, pictures in zip(PROMPTS, PROMPTS[::-1], [5, 6], told, strict=True):
        session = longlive.Session(models, prompt, seed=seed)
        chunks = [session.next_chunk() for _ in range(2)]
        session.set_prompt(other, switch="soft")
        chunks.append(session.next_chunk())
        shown = torch.cat([torch.from_numpy(chunk.frames) for chunk in chunks]).permute(0, 3, 1, 2)
        assert (shown.int() - pictures.int()).abs().max() <= 2


@torch.no_grad()
@pytest.mark.parametrize("mode", ["soft", "hard", "keep"])
def test_a_branch_goes_on_as_its_trunk_would_and_leaves_it_alone(models: longlive.ModelBundle, mode: str):
    trunk, twin = (BatchTeller(models, PROMPTS, [5, 6]) for _ in range(2))
    trunk.tell(2), twin.tell(2)
    branch = trunk.branch()
    branch.switch(PROMPTS[::-1], mode)
    branch.tell(1)
    assert torch.equal(trunk.tell(1), twin.tell(1))


def test_a_fifth_of_the_prompts_asks_for_unseen_combinations():
    trials = draw_trials(50, 0)
    assert sum(is_held_out(trial.scene) for trial in trials) == 10
    assert all(trial.scene.action != trial.turned.action for trial in trials)
    assert draw_trials(50, 0) == trials and draw_trials(50, 1) != trials


@pytest.mark.slow
def test_scores_are_shares_and_the_model_beats_chance(models: longlive.ModelBundle):
    result = evaluate_prompts(models, num_prompts=10, seed=0)
    for part in ("before", "after_soft", "after_hard", "after_keep"):
        assert all(0 <= value <= 1 for value in result[part]["score"].values())
    assert result["before"]["score"]["setting"] > 2 * result["chance"]["setting"]
    assert result["before"]["score"]["colour"] > 2 * result["chance"]["colour"]


def test_the_codec_keeps_pictures(models: longlive.ModelBundle):
    assert codec_quality(models.vae, 33, 1, 0) > 23
