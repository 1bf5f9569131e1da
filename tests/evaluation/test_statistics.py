"""Intervals agree with published values, and say so when there is nothing to say."""

import numpy as np
import pytest

from longlive.evaluation.statistics import NOTHING, Estimate, beats, difference, estimate, mean, share


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_shares_have_wilsons_interval(hits: int, n: int, low: float, high: float) -> None:
    found = share([True] * hits + [False] * (n - hits))
    assert found.value == hits / n and found.n == n
    assert (found.ci_low, found.ci_high) == (pytest.approx(low, abs=2e-4), pytest.approx(high, abs=2e-4))


def test_the_bootstrap_of_a_mean_is_near_the_normal_interval_and_always_the_same() -> None:
    values = np.random.default_rng(1).normal(50, 10, 400).tolist()
    found = mean(values)
    reach = 1.96 * np.std(values) / 20
    assert found.value == pytest.approx(np.mean(values))
    assert found.ci_low == pytest.approx(np.mean(values) - reach, abs=0.1)
    assert found.ci_high == pytest.approx(np.mean(values) + reach, abs=0.1)
    assert mean(values) == found


def test_the_interval_of_a_mean_covers_it_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    found = [mean(rng.normal(0, 1, 40).tolist()) for _ in range(100)]
    assert 88 <= sum(f.ci_low <= 0 <= f.ci_high for f in found if f.ci_low is not None and f.ci_high) <= 99


def test_pairs_that_differ_evenly_have_no_doubt_left_though_their_values_scatter() -> None:
    values = np.random.default_rng(3).uniform(0, 90, 30)
    found = difference([*(values + 5), None, 1.0], [*values, 2.0, None])
    assert found.value == pytest.approx(5) and found.n == 30
    assert found.ci_low == pytest.approx(5) and found.ci_high == pytest.approx(5)


def test_scores_that_are_all_or_nothing_are_shares_and_others_are_means() -> None:
    assert estimate([100.0, 0.0, None, 100.0, 100.0]) == share([True, False, True, True]).times(100)
    assert estimate([100.0, 50.0, None]) == mean([100.0, 50.0])


def test_no_trials_give_no_figure() -> None:
    assert estimate([None]) == share([]) == mean([]) == difference([], []) == NOTHING == NOTHING.times(100)
    assert NOTHING.as_json() == {"value": None, "ci_low": None, "ci_high": None, "n": 0}


def test_one_beats_another_when_their_intervals_do_not_overlap() -> None:
    low, middle, high = (Estimate(v, v - 2, v + 2, 9) for v in (10.0, 13.0, 15.0))
    assert beats(high, low) and not beats(middle, low) and not beats(low, high)
    assert not beats(NOTHING, low) and not beats(high, NOTHING)
