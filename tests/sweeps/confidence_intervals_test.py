"""Confidence intervals against SciPy."""

import numpy as np
import pytest
from scipy import stats

from vaejax.sweeps.confidence_intervals import mean_interval, student_t


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 9, 10, 100])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_quantiles_of_student_t(degrees, level):
    np.testing.assert_allclose(student_t(degrees, level), stats.t.ppf((1 + level) / 2, degrees))


def test_the_interval_of_a_mean():
    values = [3.0, 5.0, 4.5, 7.0]
    mean, half = mean_interval(values)
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    np.testing.assert_allclose((mean - half, mean + half), expected)


def test_intervals_of_few_values_are_nan():
    assert mean_interval([2.0])[0] == 2.0
    assert np.isnan([mean_interval([2.0])[1], *mean_interval([])]).all()
