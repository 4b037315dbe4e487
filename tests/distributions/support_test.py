"""The declared supports, and densities under a change of units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vaejax import distributions as d
from vaejax.distributions.bounds import soft_bound
from vaejax.distributions.likelihoods import LIKELIHOODS
from vaejax.distributions.support import support_of

ARGUMENTS = {"categorical": (5,), "mixed": ((5,),)}
INSIDE = {
    "bernoulli": [0, 0.3, 1],
    "categorical": [0, 4],
    "mixed": [0, 4],
    "normal": [-1e9, 0.5],
    "laplace": [-1e9, 0.5],
    "discretized_laplace": [0, 1 / 255, 1],
    "discretized_logistic": [0, 1 / 255, 1],
    "discretized_logistic_mixture": [0, 7 / 255, 1],
    "negative_binomial": [0, 3, 2**24],
}
OUTSIDE = {
    "bernoulli": [-0.1, 1.01, np.nan, 255],
    "categorical": [-1, 5, 2.5],
    "mixed": [5, 0.5, -1, np.nan],
    "normal": [np.nan, np.inf],
    "laplace": [np.nan, np.inf],
    "discretized_laplace": [0.5, -1 / 255, 256 / 255, np.nan],
    "discretized_logistic": [0.5, -1 / 255, 256 / 255, np.nan],
    "discretized_logistic_mixture": [0.5, 2],
    "negative_binomial": [0.5, -1, 2e9, np.nan],
}


@pytest.mark.parametrize("name", sorted(INSIDE))
def test_every_likelihood_declares_its_support(name):
    likelihood = LIKELIHOODS[name](*ARGUMENTS.get(name, ()))
    features = jnp.zeros((2, 3, likelihood.width(1) + likelihood.constants))
    support = support_of(likelihood.apply(features))
    assert support.contains(np.array(INSIDE[name], np.float32)).all()
    assert not support.contains(np.array(OUTSIDE[name], np.float32)).any()


def test_the_grid_has_as_many_levels_as_the_likelihood():
    levels = 16
    p = LIKELIHOODS["discretized_logistic"](levels).apply(jnp.zeros((1, 2)))
    assert support_of(p).contains(np.arange(16, dtype=np.float32) / 15).all()
    assert not support_of(p).contains(np.arange(1, 17) / 255).any()


def test_masks_and_transformations_have_the_support_of_their_base():
    p = d.Normal(jnp.zeros((2, 3)), jnp.ones((2, 3)))
    masked = d.Masked(d.in_units(p, jnp.ones(3), jnp.ones(3)), jnp.ones((2, 3)), p.loc)
    assert support_of(masked).real
    assert support_of(object()) is None


def test_a_change_of_units_is_that_of_the_density():
    random = np.random.RandomState(0)
    loc, sigma = random.randn(4, 3), np.exp(random.randn(4, 3))
    shift, scale = np.array([5.0, -1e4, 0.0]), np.array([1e-3, 300.0, 1.0])
    x = shift + scale * (loc + sigma * random.randn(4, 3))
    base = d.Normal(*(jnp.asarray(a, jnp.float32) for a in (loc, sigma)))
    p = d.in_units(base, *(jnp.asarray(a, jnp.float32) for a in (shift, scale)))
    x32 = x.astype(np.float32)
    exact = scipy.stats.norm.logpdf(x32.astype(float), shift + scale * loc, scale * sigma)
    np.testing.assert_allclose(p.log_prob(jnp.asarray(x32)), exact, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(p.mean, shift + scale * loc, rtol=1e-5)
    np.testing.assert_allclose(p.variance, (scale * sigma) ** 2, rtol=1e-5)
    many = jnp.stack([p.sample(key) for key in jax.random.split(jax.random.key(0), 400)])
    z = (np.asarray(many) - (shift + scale * loc)) / (scale * sigma)
    assert abs(z.mean()) < 0.05
    assert abs(z.std() - 1) < 0.05
    q, u, log_scale = d.in_base_units(p, jnp.asarray(x32))
    assert q is base
    np.testing.assert_allclose(u, (x32 - shift) / scale, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(log_scale, np.full(4, np.log(scale).sum()), rtol=1e-5)


def test_a_density_of_whole_vectors_changes_by_the_log_determinant():
    base = d.MultivariateNormal(jnp.zeros((2, 3)), jnp.broadcast_to(jnp.eye(3), (2, 3, 3)))
    p = d.in_units(base, jnp.array([1.0, 2.0, 3.0]), jnp.array([2.0, 3.0, 4.0]))
    x = np.array([[1.0, 2.0, 3.0], [3.0, 5.0, 7.0]], np.float32)
    exact = scipy.stats.norm.logpdf(x, [1, 2, 3], [2, 3, 4]).sum(axis=1)
    np.testing.assert_allclose(p.log_prob(jnp.asarray(x)), exact, rtol=1e-5)


def test_observed_elements_are_in_the_units_of_the_data():
    base = d.Normal(jnp.zeros((1, 3)), jnp.ones((1, 3)))
    masked = d.Masked(base, jnp.array([[1.0, 0.0, 1.0]]), jnp.full((1, 3), 2.0))
    p = d.in_units(masked, jnp.full(3, 10.0), jnp.full(3, 5.0))
    np.testing.assert_allclose(p.mean, [[10.0, 20.0, 10.0]])
    assert p.log_prob(jnp.full((1, 3), 20.0))[0, 1] == 0
    q, u, _ = d.in_base_units(p, p.mean)
    np.testing.assert_allclose(u, [[0.0, 2.0, 0.0]])
    np.testing.assert_allclose(q.observed, masked.observed)


def test_a_bound_changes_nothing_within_its_range_and_keeps_a_gradient():
    x = jnp.linspace(-15.0, 5.0, 5001)
    np.testing.assert_array_equal(soft_bound(x), x)
    far = jnp.array([-1e8, -1e3, 1e3, 1e8, jnp.inf])
    np.testing.assert_allclose(soft_bound(far), [-20, -20, 10, 10, 10], atol=0.05)
    slopes = jax.vmap(jax.grad(soft_bound))(jnp.array([-1e6, -20.0, 0.0, 6.0, 1e6]))
    assert (slopes > 0).all()
    np.testing.assert_array_equal(slopes[2], 1.0)
