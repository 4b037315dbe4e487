"""Confidence intervals against the density of Student's t."""

import math

import numpy as np
import pytest

from vaejax.sweeps.confidence_intervals import mean_interval


@pytest.mark.parametrize("n", [2, 3, 4, 6, 11, 101])
@pytest.mark.parametrize("level", [0.5, 0.95])
def test_the_interval_has_the_probability_of_student_t(n, level):
    values = np.random.RandomState(n).randn(n) + 3.0
    mean, half = mean_interval(values.tolist(), level)
    assert mean == pytest.approx(values.mean())
    degrees = n - 1
    # The density of T = √ν tan(a) is cos(a)^(ν−1), up to a constant, in the angle a.
    bound = math.atan(half / (values.std(ddof=1) / math.sqrt(n)) / math.sqrt(degrees))
    angles = np.linspace(-np.pi / 2, np.pi / 2, 200_001)
    inside = np.linspace(-bound, bound, 200_001)
    total, part = (np.trapezoid(np.cos(a) ** (degrees - 1), a) for a in (angles, inside))
    assert part / total == pytest.approx(level, rel=1e-8)


def test_the_interval_of_two_values_has_a_closed_form():
    _, half = mean_interval([1.0, 3.0], 0.95)  # Student's t with one degree of freedom is Cauchy's
    assert half == pytest.approx(math.tan(0.95 * math.pi / 2))


def test_intervals_of_few_values_are_nan():
    assert mean_interval([2.0])[0] == 2.0
    assert np.isnan([mean_interval([2.0])[1], *mean_interval([])]).all()
