"""Against N(V x, s²) of Gaussian x, whose aggregate is Gaussian, and a brute-force sum."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import scipy.stats

from vaejax.distributions import Normal
from vaejax.evaluation.information import information

KEY = jax.random.key(0)
PRIOR = Normal(jnp.zeros((1, 2)), jnp.ones((1, 2)))


def test_of_a_gaussian_aggregate():
    v = np.array([[0.9, 0.2], [-0.3, 0.5]])
    s = np.array([0.8, 0.6])
    x = np.random.RandomState(0).randn(20_000, 2)
    loc = jnp.asarray(x @ v.T, jnp.float32)
    scale = jnp.broadcast_to(jnp.asarray(s, jnp.float32)[None], loc.shape)
    found = jax.jit(lambda key: information(loc, scale, PRIOR, key))(KEY)
    c = v @ v.T + np.diag(s**2)
    want = 0.5 * np.log(np.linalg.det(c) / np.prod(s**2))
    np.testing.assert_allclose(found.mutual_information, want, atol=0.03)
    marginal = 0.5 * (np.trace(c) - 2 - np.log(np.linalg.det(c)))
    np.testing.assert_allclose(found.marginal_kl, marginal, atol=0.03)


def test_of_few_examples_by_a_sum_in_float64():
    random = np.random.RandomState(1)
    loc, scale = random.randn(7, 2), 0.1 + random.rand(7, 2)
    arrays = (jnp.asarray(a, jnp.float32) for a in (loc, scale))
    loc32, scale32 = arrays
    found = jax.jit(lambda key: information(loc32, scale32, PRIOR, key, draws=3, chunk=2))(KEY)
    mi, kl = [], []
    for key in jax.random.split(KEY, 3):
        z = loc + scale * np.asarray(jax.random.normal(key, loc.shape), np.float64)
        pairs = scipy.stats.norm.logpdf(z[:, None], loc[None], scale[None]).sum(axis=2)
        whole = scipy.special.logsumexp(pairs, axis=1) - np.log(7)
        mi.append((np.diag(pairs) - whole).mean())
        kl.append((whole - scipy.stats.norm.logpdf(z).sum(axis=1)).mean())
    np.testing.assert_allclose(found.mutual_information, np.mean(mi), rtol=1e-4)
    np.testing.assert_allclose(found.marginal_kl, np.mean(kl), rtol=1e-4)


def test_examples_far_apart_share_nothing():
    loc = 100.0 * jnp.arange(64, dtype=jnp.float32)[:, None]
    found = information(loc, jnp.ones((64, 1)), Normal(jnp.zeros((1, 1)), jnp.ones((1, 1))), KEY)
    np.testing.assert_allclose(found.mutual_information, np.log(64), rtol=1e-3)
