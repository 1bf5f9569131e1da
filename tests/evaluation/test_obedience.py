"""Obedience: scores are shares, workers agree with one process, and the codec keeps pictures."""

import pytest

import longlive
from longlive.evaluation.obedience import codec_quality, evaluate_prompts


@pytest.fixture(scope="module")
def models() -> longlive.ModelBundle:
    return longlive.load_models("storybook")


@pytest.mark.slow
def test_scores_are_shares_and_the_model_beats_chance(models: longlive.ModelBundle):
    result = evaluate_prompts(models, num_prompts=4, seed=0)
    for part in ("before", "after_soft", "after_hard", "after_keep"):
        for name, value in result[part]["score"].items():
            low, high = result[part]["interval"][name]
            assert 0 <= low <= value <= high <= 1 and high - low > 0.4
    assert result["before"]["score"]["setting"] > 2 * result["chance"]["setting"]
    assert result["before"]["score"]["colour"] > 2 * result["chance"]["colour"]


def test_the_codec_keeps_pictures(models: longlive.ModelBundle):
    assert codec_quality(models.vae, 33, 1, 0) > 23
