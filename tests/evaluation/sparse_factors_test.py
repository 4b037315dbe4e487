"""The columns with the largest weights of each factor."""

import numpy as np

from vaejax.evaluation.sparse_factors import top_columns

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")
WEIGHTS = np.zeros((6, 3), np.float32)
WEIGHTS[[0, 2, 5], 0] = [0.5, -2.0, 1.0]
WEIGHTS[[1, 3], 2] = [3.0, 0.1]


def test_top_columns_of_each_factor():
    factors = top_columns(WEIGHTS, NAMES, count=2)
    assert [f.factor for f in factors] == [0, 2]  # by total weight, without unused factors
    assert factors[0].columns == ("gamma", "zeta")
    assert factors[1].columns == ("beta", "delta")
    np.testing.assert_allclose(factors[0].weights, [-2.0, 1.0])
    assert top_columns(WEIGHTS, None, count=1)[0].columns == ("column 2",)
