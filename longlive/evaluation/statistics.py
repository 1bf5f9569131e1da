"""Figures with their 95 % confidence intervals: shares, means, and differences of pairs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Z = 1.959964
"""The normal distribution's 97.5 % quantile."""
RESAMPLES = 4000

Scores = dict[str, float]
"""Scores of one video by name; in [0, 100] unless the name's definition says otherwise."""


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval, of ``n`` independent trials; None where there were no trials."""

    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int

    def as_json(self) -> dict[str, Any]:
        """Named fields, the figures to four decimals."""
        fields = {"value": self.value, "ci_low": self.ci_low, "ci_high": self.ci_high}
        return {name: None if part is None else round(part, 4) for name, part in fields.items()} | {
            "n": self.n
        }

    def times(self, factor: float) -> "Estimate":
        """The same in another unit; ``factor`` is above 0."""
        if self.value is None or self.ci_low is None or self.ci_high is None:
            return self
        return Estimate(self.value * factor, self.ci_low * factor, self.ci_high * factor, self.n)


NOTHING = Estimate(None, None, None, 0)


def estimate(values: Sequence[float | None]) -> Estimate:
    """The mean of a score in [0, 100]; None is left out; all-or-nothing scores get Wilson's interval."""
    known = [value for value in values if value is not None]
    if all(value in (0.0, 100.0) for value in known):
        return share([value > 0 for value in known]).times(100)
    return mean(known)


def share(hits: Sequence[bool]) -> Estimate:
    """The share of trials that hit, in [0, 1], with Wilson's interval."""
    return share_of(sum(hits), len(hits))


def share_of(hits: int, n: int) -> Estimate:
    """The share of ``hits`` in ``n`` trials, in [0, 1], with Wilson's interval (JASA 22, 1927, page 209)."""
    if n == 0:
        return NOTHING
    value = hits / n
    centre = (value + Z**2 / (2 * n)) / (1 + Z**2 / n)
    reach = Z / (1 + Z**2 / n) * math.sqrt(value * (1 - value) / n + Z**2 / (4 * n**2))
    return Estimate(value, max(0.0, centre - reach), min(1.0, centre + reach), n)


def mean(values: Sequence[float]) -> Estimate:
    """The mean of independent values, with the bootstrap's percentile interval; the same on every run."""
    if len(values) == 0:
        return NOTHING
    numbers = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(0).integers(len(numbers), size=(RESAMPLES, len(numbers)))
    low, high = np.quantile(numbers[drawn].mean(1), [0.025, 0.975])
    return Estimate(float(numbers.mean()), float(low), float(high), len(numbers))


def difference(first: Sequence[float | None], second: Sequence[float | None]) -> Estimate:
    """The mean of ``first - second`` over the same trials, in order; pairs with a None are left out."""
    pairs = zip(first, second, strict=True)
    return mean([a - b for a, b in pairs if a is not None and b is not None])


def beats(first: Estimate, second: Estimate) -> bool:
    """Whether ``first`` is above ``second`` with intervals that do not overlap."""
    return first.ci_low is not None and second.ci_high is not None and first.ci_low > second.ci_high
