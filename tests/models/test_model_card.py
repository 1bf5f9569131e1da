import dataclasses
from typing import Any

import pytest

from longlive.errors import CheckpointError
from longlive.models.model_card import ModelCard, Story


def test_a_card_survives_being_written_and_read() -> None:
    card = ModelCard("It draws.", ("red", "ball"), (Story("A ball", ((0.0, "red"), (2.5, "ball"))),))
    assert ModelCard.of(dataclasses.asdict(card)) == card


def test_a_model_without_a_card_has_an_empty_one() -> None:
    assert ModelCard.of({}) == ModelCard("", (), ())


@pytest.mark.parametrize(
    "values",
    [
        {"stories": [{"title": "no prompts"}]},
        {"stories": [{"title": "t", "prompts": [["soon", "text"]]}]},
        {"stories": [{"title": "t", "prompts": [[1.0]]}]},
        {"words": 5},
        [],
    ],
)
def test_a_card_of_another_shape_is_refused_with_the_right_one(values: Any) -> None:
    with pytest.raises(CheckpointError, match="must hold 'about'"):
        ModelCard.of(values)
