"""What people write is read in words, or refused in words."""

import pytest

from longlive.errors import PromptError
from longlive.model_card import ModelCard
from longlive.web.storyboard import gentle_answer, read_cues, unknown_words

CARD = ModelCard(words=("the", "red", "ball", "jumps", "meadow"))


def test_cues_come_in_order_of_time_with_the_default_switch() -> None:
    values = [{"at": 4, "text": "b", "switch": "hard"}, {"text": "a"}]
    assert read_cues(values) == [(0.0, "a", "soft"), (4.0, "b", "hard")]


@pytest.mark.parametrize(
    "values, words",
    [
        ("a red ball", "must be a list"),
        ([{"at": 0, "text": "a"}] * 65, "at most 64"),
        ([{"at": -1, "text": "a"}], "begin at -1"),
        ([{"at": float("nan"), "text": "a"}], "begin at nan"),
        ([{"at": True, "text": "a"}], "begin at True"),
        ([{"at": 0}], "Prompt 0 is"),
        (["a red ball"], "Prompt 0 is 'a red ball'"),
        ([{"at": 0, "text": "a", "switch": "slow"}], "switches 'slow'; it must be one of soft, hard, keep"),
    ],
)
def test_cues_that_cannot_be_read_are_named_in_words(values: object, words: str) -> None:
    with pytest.raises(PromptError, match=words):
        read_cues(values)


def test_unknown_words_are_found_whatever_their_case_and_marks() -> None:
    assert unknown_words("The RED dragon, jumps! 3 dragons <b>", CARD) == ["dragon", "dragons", "b"]
    assert unknown_words("The dragon", ModelCard()) == []


def test_the_gentle_answer_names_what_is_unknown_and_what_is_known() -> None:
    answer = gentle_answer("the red dragon", "storybook", CARD)
    assert answer == "The storybook model has not learnt “dragon”. It knows the, red, ball, jumps, meadow."
    card = ModelCard(about="It draws balls.", words=CARD.words)
    assert gentle_answer("a dragon", "storybook", card).endswith("learnt “a”, “dragon”. It draws balls.")
    assert gentle_answer("the red ball", "storybook", CARD) == ""
