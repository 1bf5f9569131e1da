"""A load that cannot be is refused before anybody comes."""

import pytest

from longlive.benchmark.loadtest.plan import Plan
from longlive.errors import ConfigError


@pytest.mark.parametrize(
    "plan",
    [
        {"viewers": 0},
        {"viewers": 12, "waiting": 4},
        {"viewers": 2, "browsers": 3},
        {"viewers": 2, "waiting": -1},
        {"viewers": 2, "seconds": 0},
        {"viewers": 2, "waiting": 1, "drops": 3},
    ],
)
def test_an_impossible_load_is_refused_in_words(plan) -> None:
    with pytest.raises(ConfigError, match=r"Try|Leave"):
        Plan(**plan)
