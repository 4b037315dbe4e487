"""The Gaussian bottleneck: its parameters, reparameterisation and prior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.latents import bottlenecks

KEY = jax.random.key(0)
FEATURES = jnp.asarray(np.random.RandomState(0).randn(4, 3, 10), jnp.float32)


def test_features_are_the_mean_and_the_log_variance():
    node = bottlenecks.gaussian(5).apply({}, FEATURES, KEY)
    np.testing.assert_array_equal(node.posterior.loc, FEATURES[..., :5])
    np.testing.assert_allclose(node.posterior.scale**2, np.exp(FEATURES[..., 5:]), rtol=1e-5)
    np.testing.assert_array_equal(node.prior.loc, np.zeros((4, 3, 5)))
    np.testing.assert_array_equal(node.prior.scale, np.ones((4, 3, 5)))


def test_the_sample_is_reparameterised():
    apply = bottlenecks.gaussian(5).apply
    node = apply({}, FEATURES, KEY)
    noise = (node.z - node.posterior.loc) / node.posterior.scale
    other = apply({}, FEATURES + 1.0, KEY)
    shifted = (other.z - other.posterior.loc) / other.posterior.scale
    np.testing.assert_allclose(shifted, noise, atol=1e-5)
    gradient = jax.grad(lambda f: apply({}, f, KEY).z.sum())(FEATURES)
    np.testing.assert_allclose(gradient[..., :5], np.ones((4, 3, 5)))
    want = 0.5 * node.posterior.scale * noise
    np.testing.assert_allclose(gradient[..., 5:], want, rtol=1e-4, atol=1e-5)


def test_samples_have_the_moments_of_the_posterior():
    features = jnp.tile(jnp.array([1.0, -2.0, 0.5, -1.0])[None], (20_000, 1))
    z = np.asarray(bottlenecks.gaussian(2).apply({}, features, KEY).z)
    np.testing.assert_allclose(z.mean(0), [1.0, -2.0], atol=0.04)
    np.testing.assert_allclose(z.var(0), np.exp([0.5, -1.0]), rtol=0.05)


@pytest.mark.parametrize("lead", [(7,), (7, 3, 2)])
def test_samples_from_the_prior(lead):
    bottleneck = bottlenecks.gaussian(5)
    assert bottleneck.width == 10
    assert bottleneck.init(KEY, FEATURES) == {}
    z = bottleneck.sample_prior({}, KEY, (*lead, 10), 1.0)
    assert z.shape == (*lead, 5)
    assert z.dtype == jnp.float32
    np.testing.assert_allclose(
        bottleneck.sample_prior({}, KEY, (*lead, 10), 0.5), 0.5 * z, rtol=1e-6
    )
    np.testing.assert_array_equal(
        bottleneck.sample_prior({}, KEY, (*lead, 10), 0.0), np.zeros_like(z)
    )
    assert abs(float(bottleneck.sample_prior({}, KEY, (5000, 10), 1.0).std()) - 1) < 0.02
