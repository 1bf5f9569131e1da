"""What people write that the model does not know is answered gently."""

from longlive.model_card import ModelCard
from longlive.web.words import gentle_answer, unknown_words

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
