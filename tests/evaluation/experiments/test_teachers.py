"""A teacher is scored by what its ODE ends in."""

import numpy as np
import pytest
import torch

from longlive.evaluation.experiments import teachers
from longlive.evaluation.trials import draw_trials
from longlive.models.wan_vae import encode_pictures
from longlive.storybook.dataset import frames_before
from longlive.storybook.world.drawing import draw_story
from longlive.training.objectives.ode_initialisation import OdePairs
from longlive.weights.loading import load_models


@pytest.mark.slow
def test_ends_that_are_true_score_like_truth_and_noise_does_not(monkeypatch):
    models, asked = load_models("storybook"), []
    trials = draw_trials(3, 3)
    clips = [draw_story([(t.scene, frames_before(7))], np.random.default_rng(0)) for t in trials]
    ends = encode_pictures(models.vae, torch.stack(clips).float() / 127.5 - 1)

    def true_ends(scores, noise, text, negative, *, num_steps):
        asked.append((scores.options.guidance, num_steps, len(text), len(negative)))
        assert ends.shape == noise.shape
        return OdePairs(noise[None], ends)

    monkeypatch.setattr(teachers, "ode_pairs", true_ends)
    found = teachers.score_teacher(models, guidances=[1.0, 4.0], num_steps=7, num_prompts=3, seed=3)
    assert asked == [(1.0, 7, 3, 1), (4.0, 7, 3, 1)]
    for row in found["teachers"]:
        assert row["setting"]["value"] == row["colour"]["value"] == row["one_subject"]["value"] == 100
        assert row["action"]["value"] >= 80
    monkeypatch.undo()
    wrong = teachers.score_teacher(models, guidances=[1.0], num_steps=1, num_prompts=3, seed=3)
    assert wrong["teachers"][0]["shape"]["value"] < 80, "one step of a stream's weights draws no clip"
