"""Distributions against SciPy, brute-force sums over all values, and Monte Carlo."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from tests.distributions.compiled import KEY, log_prob, normal, repeat, sample
from vaejax import distributions as d


def test_normal_log_prob_equals_scipys():
    q, x = normal(KEY), jax.random.normal(jax.random.key(1), (3, 4))
    np.testing.assert_allclose(
        log_prob(q, x), scipy.stats.norm.logpdf(x, q.loc, q.scale), rtol=1e-5
    )


def test_bernoulli_log_prob_equals_scipys_and_is_stable_for_large_logits():
    logits = jnp.array([-80.0, -2.0, 0.0, 3.0, 80.0])
    q = d.Bernoulli(logits)
    for x in (0.0, 1.0):
        want = x * np.asarray(logits, np.float64) - np.logaddexp(0, np.asarray(logits, np.float64))
        np.testing.assert_allclose(log_prob(q, np.full(5, x, np.float32)), want, rtol=1e-6)
    moderate = d.Bernoulli(logits[1:4])
    want = scipy.stats.bernoulli.logpmf(1, scipy.special.expit(np.asarray(logits[1:4])))
    np.testing.assert_allclose(log_prob(moderate, jnp.ones(3)), want, rtol=1e-5)


def test_categorical_log_prob_is_the_log_of_its_probabilities():
    q = d.Categorical(jax.random.normal(KEY, (6, 5)))
    x = jnp.arange(6, dtype=jnp.int32) % 5
    want = np.log(scipy.special.softmax(np.asarray(q.logits), -1)[np.arange(6), np.asarray(x)])
    np.testing.assert_allclose(q.log_prob(x), want, rtol=1e-5)


def samples_of(q, n=100_000):
    return np.asarray(sample(repeat(q, n), KEY), np.float64)


@pytest.mark.parametrize(
    "q",
    [
        d.Normal(jnp.array([0.3, -2.0]), jnp.array([0.5, 2.0])),
        d.Bernoulli(jnp.array([-1.0, 2.0])),
        d.DiscretizedLogistic(jnp.array([0.3, 0.6]), jnp.array([0.02, 0.03])),
    ],
    ids=lambda q: type(q).__name__,
)
def test_the_mean_is_the_mean_of_samples(q):
    np.testing.assert_allclose(samples_of(q).mean(0), q.mean, atol=0.02)


def test_a_delta_has_all_its_mass_on_its_value():
    p = d.Delta(jnp.array([3, 5]))
    np.testing.assert_array_equal(p.sample(KEY), [3, 5])
    np.testing.assert_array_equal(p.mean, [3, 5])
    np.testing.assert_array_equal(p.log_prob(jnp.array([3, 4])), [0.0, -np.inf])


def test_as_rows_flattens_elementwise_distributions_only():
    """Log-probabilities of `[2, 4, 3, 1]` and of `[2, 12]`, flattened by NumPy and by as_rows."""
    shape, keys = (2, 4, 3, 1), jax.random.split(KEY, 3)
    x = jax.random.bernoulli(keys[0], 0.5, shape).astype(jnp.float32)
    loc, scale = jax.random.normal(keys[1], shape), jnp.full(shape, 0.7)
    mask = jax.random.bernoulli(keys[2], 0.5, shape).astype(jnp.float32)
    elementwise = [d.Bernoulli(loc), d.Normal(loc, scale), d.DiscretizedLogistic(loc, scale)]
    for p in (*elementwise, d.Masked(d.Bernoulli(loc), mask, x)):
        rows, flat = d.as_rows(p, x)
        assert type(rows) is type(p)
        assert flat.shape == rows.mean.shape == (2, 12)
        np.testing.assert_allclose(
            rows.log_prob(flat), np.asarray(p.log_prob(x)).reshape(2, 12), rtol=1e-6
        )
        np.testing.assert_allclose(rows.mean, np.asarray(p.mean).reshape(2, 12), rtol=1e-6)

    class Correlated(d.Normal):
        """A subclass, which may depend on the event's shape."""

    classes = d.Categorical(jax.random.normal(KEY, (2, 4, 3, 5))), jnp.zeros((2, 4, 3), jnp.int32)
    one_channel = d.Masked(d.Normal(loc, scale), mask[:, :1], x), x
    codes = d.Uniform(5, (2, 4, 3)), jnp.zeros((2, 4, 3), jnp.int32)
    for p, event in (classes, codes, one_channel, (Correlated(loc, scale), x)):
        same, unchanged = d.as_rows(p, event)
        assert same is p
        assert unchanged is event
