"""A short prompt made whole, by the parts that a model's card lists or by its subject."""

import pytest

from longlive.models.model_card import ModelCard
from longlive.storybook.release import storybook_card
from longlive.web.prompt_completion import complete_prompt

MEADOW = "a red ball stands on a green meadow"
STREET = "A young woman in a red coat walks through a snowy street. Soft light, cinematic."


@pytest.mark.parametrize(
    "text, previous, whole",
    [
        ("it jumps", MEADOW, "a red ball jumps on a green meadow"),
        ("it jumps", "a blue star spins", "a blue star jumps"),
        ("in the snow", MEADOW, "a red ball stands in the snow"),
        (
            "jumping",
            "the purple kitten stands still in a night forest",
            "a purple kitten jumps in a night forest",
        ),
        ("The CAT spins at night", f"{MEADOW} in the rain", "a red cat spins at night in the rain"),
        ("an orange star", MEADOW, "an orange star stands on a green meadow"),
        ("a blue cat walks left on the beach", MEADOW, "a blue cat walks left on the beach"),
    ],
)
def test_what_is_missing_stays_as_it_was(text: str, previous: str, whole: str) -> None:
    assert complete_prompt(text, [previous], storybook_card()) == whole


@pytest.mark.parametrize(
    "text, previous", [("hello", MEADOW), ("it jumps", ""), ("it jumps", "hello"), ("", MEADOW)]
)
def test_where_nothing_can_be_known_the_prompt_stays(text: str, previous: str) -> None:
    assert complete_prompt(text, [previous], storybook_card()) == text


def test_a_pronoun_becomes_the_subject_and_the_style_stays() -> None:
    answer = complete_prompt("then she opens an umbrella", [STREET], ModelCard())
    assert answer == "A young woman in a red coat opens an umbrella. Soft light, cinematic."
    bearded = "An old man, wearing a blue sweater, sits at a table."
    assert (
        complete_prompt("He laughs!", [bearded], ModelCard()) == "An old man, wearing a blue sweater laughs!"
    )
    assert complete_prompt("a dog runs", [STREET], ModelCard()) == "a dog runs"
    assert complete_prompt("she dances", [], ModelCard()) == "she dances"
    assert complete_prompt("it dances", ["word " * 40 + "is here"], ModelCard()) == "it dances"


def test_what_the_prompt_in_use_leaves_out_comes_from_those_before_it() -> None:
    earlier = [
        "a red cat jumps while it snows",
        "an orange cube stands on the beach",
        "the cube floats",
        "rain",
    ]
    assert (
        complete_prompt("it spins", earlier, storybook_card())
        == "an orange cube spins on the beach in the rain"
    )
    assert complete_prompt("a ball", earlier[:3], storybook_card()) == "an orange ball floats on the beach"
    answer = complete_prompt("she dances", [STREET, "She opens an umbrella"], ModelCard())
    assert answer == "A young woman in a red coat dances. Soft light, cinematic."


def test_long_and_odd_prompts_are_read_in_no_time() -> None:
    text = "it " + "on a green meadow " * 100 + "(((" + "jump" * 40
    assert complete_prompt(text, [text], storybook_card())
