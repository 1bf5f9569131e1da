"""Percentiles of measured values."""

import pytest

from longlive.benchmark.statistics import percentile


@pytest.mark.parametrize("share, value", [(0, 1.0), (50, 2.5), (95, 3.85), (100, 4.0)])
def test_percentiles_are_interpolated(share: float, value: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], share) == value


def test_percentiles_are_rounded_and_none_of_nothing() -> None:
    assert percentile([1 / 3], 50) == 0.333 and percentile([1 / 3], 50, digits=1) == 0.3
    assert percentile([], 50) is None
