"""Softplus and its derivatives against float64."""

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.distributions.softplus import softplus


def test_values_and_derivatives():
    x = np.concatenate([np.linspace(-80, 80, 641), [-1e-6, 0.0, 1e-6]]).astype(np.float32)

    def all_orders(x):
        slope = jax.vmap(jax.grad(softplus))
        curvature = jax.vmap(jax.grad(jax.grad(softplus)))
        return softplus(x), slope(x), curvature(x)

    value, slope, curvature = jax.jit(all_orders)(x)
    exact = x.astype(np.float64)
    logistic = 1 / (1 + np.exp(-exact))
    np.testing.assert_allclose(value, np.logaddexp(0, exact), rtol=1e-6)
    np.testing.assert_allclose(slope, logistic, rtol=1e-6)
    # σ (1 − σ), whose second factor is rounded to float32 at 1.
    np.testing.assert_allclose(curvature, logistic / (1 + np.exp(exact)), rtol=1e-6, atol=1e-7)


def test_values_that_are_large_or_not_finite():
    value = softplus(jnp.array([1e4, jnp.inf, -jnp.inf, jnp.nan]))
    np.testing.assert_array_equal(value, [1e4, np.inf, 0.0, np.nan])
