"""Confidence intervals of means over seeds."""

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["mean_interval"]


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Mean and half the width of its confidence interval, t · s / √n; NaN for a single value."""
    n = len(values)
    if n < 2:
        return (float(values[0]) if n else math.nan), math.nan
    from scipy import special  # here, since few runs need it and it takes a tenth of a second

    t = float(special.stdtrit(n - 1, (1 + level) / 2))  # P(|T| ≤ t) = level, Student's T
    return float(np.mean(values)), t * float(np.std(values, ddof=1)) / math.sqrt(n)
