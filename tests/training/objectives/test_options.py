"""The schedule of a sequence, the numbers of DMD, and the names of the released defects."""

from dataclasses import asdict
from itertools import pairwise

import pytest

from longlive.errors import ConfigError
from longlive.training.objectives.options import DmdOptions, ReleasedQuirks, StreamingOptions


def test_the_papers_sequence_has_13_clips_and_ends_at_237() -> None:
    options = StreamingOptions()
    ends = [21 + 18 * number for number in range(13)]
    assert options.starts == (0, *ends[:-1])
    assert ends[-1] == 237 and options.starts[-1] + options.new_latents == 237
    assert options.overlap == 3


def test_the_prompt_may_change_where_the_released_recipe_lets_it() -> None:
    assert StreamingOptions().switch_starts == tuple(range(21, 202, 18))


@pytest.mark.parametrize(
    ("max_latents", "has_switch", "expected"),
    [(21, True, ()), (39, True, (21,)), (57, True, (21,)), (75, True, (21, 39)), (75, False, ())],
)
def test_a_short_sequence_switches_where_it_can(
    max_latents: int, has_switch: bool, expected: tuple[int, ...]
) -> None:
    assert StreamingOptions(max_latents=max_latents, has_switch=has_switch).switch_starts == expected


@pytest.mark.parametrize("new_latents", [3, 15, 21])
def test_no_sequence_passes_its_maximum_or_stops_early(new_latents: int) -> None:
    options = StreamingOptions(clip=21, new_latents=new_latents, max_latents=60)
    assert {later - earlier for earlier, later in pairwise(options.starts[1:])} <= {new_latents}
    assert options.starts[-1] + new_latents <= 60 < options.starts[-1] + 2 * new_latents


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("clip", {"clip": 0}),
        ("new_latents", {"new_latents": 22}),
        ("new_latents", {"new_latents": 0}),
        ("max_latents", {"max_latents": 20}),
    ],
)
def test_an_impossible_sequence_is_refused_by_name(field: str, changes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"^{field} is"):
        StreamingOptions(**changes)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("guidance", {"guidance": -1.0}),
        ("min_timestep", {"min_timestep": 990.0}),
        ("min_timestep", {"max_timestep": 1001.0}),
        ("sigma_floor", {"sigma_floor": 1.5}),
    ],
)
def test_impossible_numbers_of_dmd_are_refused_by_name(field: str, changes: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"^{field} is"):
        DmdOptions(**changes)


def test_no_defect_is_there_unless_asked_for() -> None:
    assert set(asdict(ReleasedQuirks()).values()) == {False}
    assert set(asdict(ReleasedQuirks.as_released()).values()) == {True}
    assert DmdOptions.as_released().guidance == 3.0 and DmdOptions().guidance == 4.0
