"""Unknown words: other forms, words of similar meaning, misspellings; and words that are left alone."""

import pytest

from longlive.models.model_card import ModelCard
from longlive.storybook.nearest_words import nearest_word, stem
from longlive.storybook.release import known_words

SECOND_EDITION = known_words()


@pytest.mark.parametrize(
    "words", ["hop hops hopping hopped", "dance dances dancing danced", "fly flies flying flew", "box boxes"]
)
def test_the_forms_of_a_word_have_one_stem(words: str) -> None:
    assert len({stem(word) for word in words.split()}) == 1


@pytest.mark.parametrize(
    "word, nearest",
    [
        ("jumped", "jumps"),
        ("Jump", "jumps"),
        ("kittens", "kitten"),
        ("dancing", "jumping"),
        ("dragon", "cat"),
        ("city", "park"),
        ("castle", "park"),
        ("downpour", "rain"),
        ("purpel", "purple"),
        ("white", "yellow"),
        ("medow", "meadow"),
    ],
)
def test_the_second_edition_has_an_answer(word: str, nearest: str) -> None:
    assert nearest_word(word, SECOND_EDITION) == nearest


@pytest.mark.parametrize(
    "word", ["Sally", "Tom", "their", "Xanthippe", "q", "starts", "train", "light", "shows"]
)
def test_names_and_common_words_are_left_alone(word: str) -> None:
    assert nearest_word(word, SECOND_EDITION) is None


def test_only_words_of_the_vocabulary_are_suggested() -> None:
    assert nearest_word("fox", ("dog", "runs")) == "dog"
    assert nearest_word("fox", ("cat", "runs")) == "cat"
    assert nearest_word("fox", ("runs",)) is None
    assert nearest_word("fox", ModelCard().words) is None
