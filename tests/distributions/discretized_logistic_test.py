"""Discretized logistics and their mixtures against SciPy and sums over all values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from tests.distributions.compiled import KEY, log_prob, repeat, sample
from vaejax import distributions as d


@jax.jit
def gradient_of_scale(q, x):
    return jax.grad(lambda s: d.DiscretizedLogistic(q.loc, s).log_prob(x).sum())(q.scale)


@pytest.mark.parametrize("scale", [1e-3, 0.01, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("loc", [-0.5, 0.0, 0.4003, 1.0, 1.2])
def test_discretized_logistic_is_the_integral_over_bins_and_sums_to_one(loc, scale):
    x = np.arange(256) / 255
    q = d.DiscretizedLogistic(jnp.full(256, loc), jnp.full(256, scale))
    got = np.asarray(log_prob(q, np.float32(x)), np.float64)
    edges = (np.arange(257) - 0.5) / 255
    edges[0], edges[-1] = -np.inf, np.inf
    cdf, tail = (f(edges, loc, scale) for f in (scipy.stats.logistic.cdf, scipy.stats.logistic.sf))
    # Of the cdf left of the centre and of the survival function right of it: no cancellation.
    want = np.where(edges[1:] < loc, np.diff(cdf), -np.diff(tail))
    np.testing.assert_allclose(np.exp(got).sum(), 1.0, rtol=2e-4)
    np.testing.assert_allclose(np.exp(got), want, rtol=2e-3, atol=1e-6)
    assert np.isfinite(gradient_of_scale(q, np.float32(x))).all()


@pytest.mark.parametrize("scale", [1e-3, 0.1, 1.0, 30.0])
def test_the_mean_of_a_discretized_logistic_is_that_of_its_probabilities(scale):
    """Also where much of the mass is beyond both ends; up to half of the rounding to a level."""
    loc = np.linspace(-0.5, 1.5, 21).astype(np.float32)
    q = d.DiscretizedLogistic(jnp.asarray(loc)[:, None], jnp.full((21, 1), scale))
    x = jnp.arange(256, dtype=jnp.float32)[None] / 255
    want = (np.exp(np.asarray(log_prob(q, x), np.float64)) * np.asarray(x)).sum(axis=1)
    mean = jax.jit(lambda q: q.mean)
    np.testing.assert_allclose(mean(q)[:, 0], want, atol=2.1e-3 if scale < 0.01 else 1e-4)
    one = d.DiscretizedLogisticMixture(jnp.zeros((21, 1)), 2 * q.loc[:, None] - 1,
                                       2 * q.scale[:, None], jnp.zeros((21, 1, 0)))  # fmt: skip
    np.testing.assert_allclose(mean(one), mean(q), atol=1e-6)


def mixture(channels, levels, components=3, shape=()):
    keys = jax.random.split(KEY, 4)
    pairs = channels * (channels - 1) // 2
    return d.DiscretizedLogisticMixture(
        jax.random.normal(keys[0], (*shape, components)),
        0.5 * jax.random.normal(keys[1], (*shape, components, channels)),
        jnp.exp(jax.random.normal(keys[2], (*shape, components, channels)) - 1),
        jax.random.normal(keys[3], (*shape, components, pairs)),
        levels,
    )


@pytest.mark.parametrize(("channels", "levels"), [(1, 256), (2, 16), (3, 6)])
def test_mixture_sums_to_one_over_all_pixels(channels, levels):
    grid = np.stack(np.meshgrid(*[np.arange(levels)] * channels, indexing="ij"), -1)
    x = jnp.asarray(grid.reshape(-1, channels) / (levels - 1), jnp.float32)
    q = mixture(channels, levels)
    np.testing.assert_allclose(np.exp(log_prob(repeat(q, len(x)), x)).sum(), 1.0, rtol=1e-4)


def test_mixture_equals_the_papers_sum_written_as_loops():
    q, x = mixture(3, 256), np.array([10, 200, 255]) / 255
    v = 2 * x - 1
    total = 0.0
    weights = scipy.special.softmax(np.asarray(q.logits, np.float64))
    for m in range(3):
        loc, scale, k = (np.asarray(a[m], np.float64) for a in (q.loc, q.scale, q.coefficients))
        means = [loc[0], loc[1] + k[0] * v[0], loc[2] + k[1] * v[0] + k[2] * v[1]]
        p = 1.0
        for c in range(3):
            low = -np.inf if x[c] == 0 else v[c] - 1 / 255
            high = np.inf if x[c] == 1 else v[c] + 1 / 255
            p *= np.diff(scipy.stats.logistic.cdf([low, high], means[c], scale[c]))[0]
        total += weights[m] * p
    np.testing.assert_allclose(log_prob(q, np.float32(x)), np.log(total), rtol=1e-4)


def test_mixture_samples_follow_its_probabilities():
    q = mixture(2, 4)
    samples = np.rint(np.asarray(sample(repeat(q, 40_000), KEY)) * 3).astype(int)
    frequencies = np.bincount(samples[:, 0] * 4 + samples[:, 1], minlength=16) / len(samples)
    grid = np.stack(np.meshgrid(range(4), range(4), indexing="ij"), -1).reshape(-1, 2) / 3
    want = np.exp(log_prob(repeat(q, 16), np.float32(grid)))
    np.testing.assert_allclose(frequencies, want, atol=0.01)
