"""How runs of several models share what can be made at once."""

import pytest

from longlive.serving.capacity import Capacity

MIXED = Capacity({"small": 4, "large": 2})
TURNS = Capacity({"small": 4, "large": 2}, is_exclusive=True)


@pytest.mark.parametrize(
    ("model", "running", "admitted"),
    [
        ("small", [], True),
        ("small", ["small"] * 3, True),
        ("small", ["small"] * 4, False),
        ("large", ["small", "small"], True),
        ("large", ["small"] * 3, False),
        ("small", ["large", "small"], True),
        ("small", ["large", "large"], False),
        ("other", [], False),
    ],
)
def test_runs_of_several_models_fill_the_time_in_proportion(
    model: str, running: list[str], admitted: bool
) -> None:
    assert MIXED.admits(model, running) == admitted


def test_many_small_shares_are_not_lost_to_rounding() -> None:
    for slots in range(1, 50):
        capacity = Capacity({"a": slots})
        assert capacity.admits("a", ["a"] * (slots - 1)) and not capacity.admits("a", ["a"] * slots)


def test_models_that_take_turns_are_never_made_together() -> None:
    assert TURNS.admits("large", []) and TURNS.admits("large", ["large"])
    assert not TURNS.admits("large", ["small"]) and not TURNS.admits("large", ["large", "large"])
    assert TURNS.num_to_end(["large"], [], ["small", "small"]) == 2, "all must end before it is loaded"
    assert TURNS.num_to_end(["small"], [], ["small", "small"]) == 0, "there is a slot"


@pytest.mark.parametrize(
    ("waiting", "leaving", "staying", "number"),
    [
        (["small"], [], ["small"] * 4, 1),
        (["small"], ["small"], ["small"] * 3, 0),
        (["large"], [], ["small"] * 4, 2),
        (["small"], [], ["large", "large"], 1),
        (["large"], [], ["small"], 0),
        (["small"] * 9, [], ["small"] * 4, 4),
        ([], [], ["small"] * 9, 0),
    ],
)
def test_as_many_must_end_as_make_room(
    waiting: list[str], leaving: list[str], staying: list[str], number: int
) -> None:
    assert MIXED.num_to_end(waiting, leaving, staying) == number


def test_what_can_be_made_at_once_is_what_the_slowest_model_allows() -> None:
    assert (MIXED.at_once([]), MIXED.at_once(["large"]), MIXED.at_once(["large", "small"])) == (4, 2, 2)
    assert (TURNS.at_once(["small"]), TURNS.at_once(["small", "large"])) == (4, 1)
    assert Capacity({"a": 0}).at_once([]) == 0 and not Capacity({"a": 0}).admits("a", [])
