"""Distances against all pairs in float64, near and far from the origin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.core.distances import power_of_two_centre, squared_distances


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e4])
def test_squared_distances_equal_those_of_all_pairs(offset):
    rng = np.random.RandomState(0)
    x = (offset + rng.randn(20, 5)).astype(np.float32)
    y = (offset + 1 + rng.randn(15, 5)).astype(np.float32)
    y[3] = x[4]
    pairs = x[:, None].astype(np.float64) - y[None]
    got = squared_distances(x, y)
    np.testing.assert_allclose(got, np.square(pairs).sum(axis=2), rtol=1e-5, atol=1e-5)
    assert got.min() >= 0


def test_the_centre_is_near_the_mean_and_subtracted_without_rounding():
    rng = np.random.RandomState(1)
    centre_of = jax.jit(power_of_two_centre)
    for offset, spread in ((1e3, 1.0), (-3e4, 0.2), (40.0, 1.0), (1e-3, 1e-7)):
        x = (offset + spread * rng.randn(50, 3)).astype(np.float32)
        centre = np.asarray(centre_of(x))
        widest = np.abs(x - x.mean(axis=0)).max()
        assert (np.abs(centre - x.mean(axis=0)) <= 2.01 * widest).all()
        exact = x.astype(np.float64) - centre.astype(np.float64)
        np.testing.assert_array_equal(x - centre, exact)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e6])
def test_the_centre_of_equal_vectors(value):
    centre = power_of_two_centre(jnp.full((4, 2), value))
    np.testing.assert_allclose(centre, value, atol=1.0)


def test_vectors_about_the_origin_are_not_shifted():
    """So that the codes that a model chooses do not depend on a shift."""
    x = np.random.RandomState(2).randn(100, 8).astype(np.float32)
    np.testing.assert_array_equal(power_of_two_centre(x + 0.3), 0.0)
