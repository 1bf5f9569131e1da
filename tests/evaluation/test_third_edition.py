"""Trials of the third edition, and scores that tell what a turn changes from what it keeps."""

from dataclasses import replace

import pytest
import torch

from longlive.evaluation import third_edition
from longlive.evaluation.third_edition import CHANCE, _scores, draw_turns
from longlive.storybook.third_edition.oracle.reading import Reading
from longlive.storybook.third_edition.world.drawing import draw_stories
from longlive.storybook.third_edition.world.scene import ATTRIBUTES, is_held_out


def reading_of(scene) -> Reading:
    return Reading(**{name: getattr(scene, name) for name in ATTRIBUTES}, has_one_subject=True)


def test_turns_change_the_action_or_the_prop_and_a_fifth_is_held_out() -> None:
    trials = draw_turns(40, 0)
    changed = [
        {name for name in ATTRIBUTES if getattr(t.scene, name) != getattr(t.turned, name)} for t in trials
    ]
    assert changed == [{"action"}, {"prop"}] * 20
    assert [is_held_out(t.scene) for t in trials] == [index % 5 == 0 for index in range(40)]
    assert trials == draw_turns(40, 0) != draw_turns(40, 1)
    assert set(CHANCE) == set(ATTRIBUTES) and CHANCE["weather"] == 0.6


def test_what_is_new_and_what_is_kept_are_scored_apart() -> None:
    trials = draw_turns(4, 0)
    perfect = _scores([reading_of(t.turned) for t in trials], trials, turned=True)
    assert set(perfect.values()) == {1.0}
    unmoved = _scores([reading_of(t.scene) for t in trials], trials, turned=True)
    assert (unmoved["new"], unmoved["kept"], unmoved["action"], unmoved["prop"]) == (0.0, 1.0, 0.5, 0.5)
    other = [replace(reading_of(t.turned), setting="", has_one_subject=False) for t in trials]
    scores = _scores(other, trials, turned=True)
    assert (scores["new"], scores["kept"], scores["one_subject"]) == (1.0, 0.0, 0.0)


@pytest.mark.slow
def test_a_model_that_draws_what_is_asked_scores_all(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = draw_turns(2, 3)

    class Perfect:
        """A stream that draws the trials' scenes instead of generating."""

        def __init__(self, models, prompts, seeds) -> None:
            assert list(prompts) == [t.prompt for t in trials]
            stories = [[(t.scene, 57), (t.turned, 48)] for t in trials]
            self.pictures = (draw_stories(stories) * 255).round().to(torch.uint8)

        def next_pictures(self, chunks: int) -> torch.Tensor:
            return self.pictures[:, :57] if chunks == 5 else self.pictures[:, 57:]

        def switch(self, prompts, mode: str) -> None:
            assert mode == "soft" and list(prompts) == [t.turned_prompt for t in trials]

    class Models:
        vae, digest = None, "x"

        class config:
            name, height, width = "storybook", 160, 256

    monkeypatch.setattr(third_edition, "BatchStream", Perfect)
    monkeypatch.setattr(
        third_edition, "through_codec", lambda vae, pictures: pictures.round().to(torch.uint8)
    )
    result = third_edition.evaluate_third_edition(Models, num_prompts=2, seed=3)  # type: ignore[arg-type]
    for part in ("before", "after"):
        assert set(result[part]["score"].values()) == set(result[part]["share"].values()) == {1.0}
    assert third_edition.is_third_edition(Models)  # type: ignore[arg-type]
