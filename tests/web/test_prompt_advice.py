"""What people write that the model does not know is answered gently."""

import dataclasses

import pytest

from longlive.models.model_card import ModelCard
from longlive.serving.status import EngineStatus
from longlive.web.prompt_advice import gentle_answer, status_line, unknown_words

CARD = ModelCard(words=("the", "red", "ball", "jumps", "meadow"))


def test_unknown_words_are_found_whatever_their_case_and_marks() -> None:
    assert unknown_words("The RED dragon, jumps! 3 dragons <b>", CARD) == ["dragon", "dragons", "b"]
    assert unknown_words("The dragon", ModelCard()) == []


def test_the_gentle_answer_names_what_is_unknown_and_what_is_known() -> None:
    answer = gentle_answer("the red dragon", "storybook", CARD)
    assert answer == "The storybook model has not learnt “dragon”. It knows the, red, ball, jumps, meadow."
    card = ModelCard(about="It draws balls.", words=CARD.words)
    assert gentle_answer("a dragon", "storybook", card).endswith("learnt “a”, “dragon”. It draws balls.")
    assert gentle_answer("the red ball", "storybook", CARD) == ""


HOUSE = EngineStatus(sessions=3, waiting=0, room=4, executor="thread", model="test cards", fps=61.4)


@pytest.mark.parametrize(
    "change, words",
    [
        ({}, "3 of 4 seats taken · nobody waits · 61 pictures/s"),
        ({"waiting": 1}, "3 of 4 seats taken · 1 waits · 61 pictures/s"),
        ({"waiting": 12, "fps": 0.0}, "3 of 4 seats taken · 12 wait"),
        ({"sessions": 0, "room": 1}, "0 of 1 seat taken · nobody waits · 61 pictures/s"),
        ({"room": 2}, "3 of 3 seats taken · nobody waits · 61 pictures/s"),
        ({"is_ready": False}, "The model is being loaded"),
        ({"is_ready": False, "is_alive": False}, "The model does not answer just now; new stories must wait"),
    ],
)
def test_the_line_on_the_house_is_a_plain_sentence(change: dict, words: str) -> None:
    assert status_line(dataclasses.replace(HOUSE, **change)) == words
