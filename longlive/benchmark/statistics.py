"""Statistics of measured values."""

from collections.abc import Sequence

import numpy as np


def percentile(values: Sequence[float], share: float, *, digits: int = 3) -> float | None:
    """The value below which ``share`` percent of the values lie, rounded; None if there are none."""
    return round(float(np.percentile(values, share)), digits) if len(values) else None
