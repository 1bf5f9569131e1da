"""Hints about unknown words, and the status line of the server."""

import dataclasses

import pytest

from longlive.models.model_card import ModelCard
from longlive.prompts import PromptText
from longlive.serving.status import EngineStatus
from longlive.web.prompt_advice import nearest_prompt, status_line, unknown_words, vocabulary_hint

CARD = ModelCard(words=("the", "red", "ball", "jumps", "meadow"))


def test_unknown_words_are_found_whatever_their_case_and_marks() -> None:
    assert unknown_words("The RED dragon, jumps! 3 dragons <b>", CARD) == ["dragon", "dragons", "b"]
    assert unknown_words("The dragon", ModelCard()) == []


def test_the_hint_names_what_is_unknown_and_what_is_known() -> None:
    answer = vocabulary_hint("the red dragon", "storybook", CARD)
    assert answer == "The storybook model does not know “dragon”. It knows the, red, ball, jumps, meadow."
    card = ModelCard(about="It draws balls.", words=CARD.words)
    assert vocabulary_hint("a dragon", "storybook", card).endswith("know “a”, “dragon”. It draws balls.")
    assert vocabulary_hint("the red ball", "storybook", CARD) == ""
    assert vocabulary_hint("then the red ball starts", "storybook", CARD) == "", (
        "no words that show something"
    )


def test_a_nearest_word_is_taken_and_the_viewer_hears_of_it() -> None:
    prompt = PromptText("The red football hops, Sally!")
    assert nearest_prompt(prompt, CARD) == "The red ball jumps, Sally!"
    answer = vocabulary_hint(prompt, "storybook", CARD)
    assert answer.startswith(
        "The storybook model takes “ball” for “football”, “jumps” for “hops”: the nearest that it knows. "
    )
    assert "does not know “sally”" in answer
    assert nearest_prompt(PromptText("the RED ball jumps"), CARD) == "the RED ball jumps"
    assert nearest_prompt(prompt, ModelCard()) == prompt


STATUS = EngineStatus(running=3, waiting=0, capacity=4, executor="thread", model="test cards")


@pytest.mark.parametrize(
    "change, words",
    [
        ({}, "3 of 4 slots in use · queue empty"),
        ({"waiting": 1}, "3 of 4 slots in use · 1 in the queue"),
        ({"waiting": 12}, "3 of 4 slots in use · 12 in the queue"),
        ({"running": 0, "capacity": 1}, "0 of 1 slot in use · queue empty"),
        ({"capacity": 2}, "3 of 3 slots in use · queue empty"),
        ({"is_ready": False}, "Loading the model"),
        ({"is_ready": False, "is_alive": False}, "The model is not responding. New videos have to wait."),
    ],
)
def test_the_status_line_counts_slots_and_viewers(change: dict, words: str) -> None:
    assert status_line(dataclasses.replace(STATUS, **change)) == words
