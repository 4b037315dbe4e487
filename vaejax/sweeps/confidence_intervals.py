"""Confidence intervals of means over seeds."""

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["mean_interval", "student_t"]


def student_t(degrees: int, level: float = 0.95) -> float:
    """t with P(|T| ≤ t) = `level` for Student's t with an integer number of `degrees` of freedom.

    By bisection of the finite sums of Abramowitz & Stegun, 26.7.3 and 26.7.4.
    """
    odd = degrees % 2

    def probability(t: float) -> float:
        angle = math.atan(t / math.sqrt(degrees))
        term, total = math.cos(angle) if odd else 1.0, 0.0
        for k in range(1, degrees // 2 + 1):
            total += term
            term *= math.cos(angle) ** 2 * (2 * k - 1 + odd) / (2 * k + odd)
        total *= math.sin(angle)
        return 2 / math.pi * (angle + total) if odd else total

    low, high = 0.0, 1.0
    while probability(high) < level:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if probability(middle) < level else (low, middle)
    return high


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Mean and half the width of its confidence interval, t · s / √n; NaN for a single value."""
    n = len(values)
    if n < 2:
        return (float(values[0]) if n else math.nan), math.nan
    half = student_t(n - 1, level) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return float(np.mean(values)), half
