"""The negative binomial against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from vaejax.distributions.likelihoods import negative_binomial
from vaejax.distributions.negative_binomial import NegativeBinomial

KEY = jax.random.key(0)


def test_negative_binomial_agrees_with_scipy():
    r = np.random.RandomState(6)
    mean, size = np.exp(r.uniform(-4, 6, 400)), np.exp(r.uniform(-3, 5, 400))
    x = stats.nbinom(size, size / (size + mean)).rvs(random_state=7).astype(np.float32)
    p = NegativeBinomial(*(jnp.asarray(np.log(a), jnp.float32) for a in (mean, size)))
    want = stats.nbinom(size, size / (size + mean))
    np.testing.assert_allclose(p.log_prob(jnp.asarray(x)), want.logpmf(x), rtol=1e-4, atol=2e-3)
    np.testing.assert_allclose(p.mean, want.mean(), rtol=1e-5)
    np.testing.assert_allclose(p.variance, want.var(), rtol=1e-4)


def test_samples_of_the_negative_binomial_follow_its_distribution():
    p = NegativeBinomial(jnp.log(jnp.array([0.3, 8.0])), jnp.log(jnp.array([0.5, 3.0])))
    x = np.asarray(jax.jit(jax.vmap(p.sample))(jax.random.split(KEY, 20_000)))
    for j, (mean, size) in enumerate([(0.3, 0.5), (8.0, 3.0)]):
        nbinom = stats.nbinom(size, size / (size + mean))
        edges = np.arange(30)
        expected = np.append(nbinom.pmf(edges[:-1]), nbinom.sf(28)) * len(x)
        observed = np.bincount(np.minimum(x[:, j].astype(int), 29), minlength=30)
        last = int((expected[:-1] > 5).sum())  # the larger counts are pooled
        pooled = [np.append(a[:last], a[last:].sum()) for a in (observed, expected)]
        assert stats.chisquare(*pooled).pvalue > 1e-3


@jax.jit
def log_prob_and_gradients(x, log_mean, log_r):
    def total(log_mean, log_r):
        log_p = NegativeBinomial(log_mean, log_r).log_prob(x)
        return log_p.sum(), log_p

    gradients, log_p = jax.grad(total, (0, 1), has_aux=True)(log_mean, log_r)
    return log_p, *gradients


def grid(top, lowest, highest, near):
    """Counts to e^top, by the distribution itself or regardless of it; float32."""
    rng = np.random.RandomState(0)
    log_mean, log_r = rng.uniform(-8, top, 3000), rng.uniform(lowest, highest, 3000)
    log_mean, log_r = log_mean.astype(np.float32), log_r.astype(np.float32)
    if near:
        mean = np.exp(log_mean.astype(np.float64))
        deviation = np.sqrt(mean + np.exp(2.0 * log_mean - log_r.astype(np.float64)))
        x = np.clip(mean + deviation * rng.randn(3000), 0, np.exp(top))
    else:
        x = np.where(rng.rand(3000) < 0.2, 0.0, np.exp(rng.uniform(0, top, 3000)))
    return np.round(x).astype(np.float32), log_mean, log_r


@pytest.mark.parametrize("near", [True, False])
@pytest.mark.parametrize(("top", "highest"), [(np.log(1e8), 15.0), (np.log(1e9), 17.3)])
def test_log_prob_and_its_gradients_in_float32_agree_with_float64(top, highest, near):
    """At 1e9 the log-gamma functions of float64 themselves are exact to 4e-6 only."""
    x, log_mean, log_r = grid(top, -8.0, highest, near)
    got, by_log_mean, by_log_r = map(np.asarray, log_prob_and_gradients(x, log_mean, log_r))
    x, m, log_r = (a.astype(np.float64) for a in (x, log_mean, log_r))
    mean, r = np.exp(m), np.exp(log_r)
    want = special.gammaln(x + r) - special.gammaln(r) - special.gammaln(x + 1)
    want += -r * np.log1p(mean / r) - x * np.log1p(r / mean)
    assert got.max() <= 0
    np.testing.assert_allclose(got, want, rtol=5e-5, atol=1e-5)
    # The float32 log μ is exact to 1e-6, hence a mean of 1e9 to 1e3.
    scale = r * (x + mean) / (r + mean)
    np.testing.assert_allclose(by_log_mean / scale, r * (x - mean) / (r + mean) / scale, atol=1e-6)
    difference = special.digamma(x + r) - special.digamma(r) - np.log1p(mean / r)
    slope = r * (difference - (x - mean) / (r + mean))
    np.testing.assert_allclose(by_log_r, slope, rtol=1e-4, atol=1e-3)


def test_the_limits_of_the_concentration():
    """Poisson for large r; for small r nearly all mass at zero, the rest proportional to r."""
    x, log_mean, _ = grid(np.log(1e9), -8.0, 15.0, near=False)
    poisson = stats.poisson(np.exp(log_mean.astype(np.float64))).logpmf(x)
    for log_r in (60.0, 150.0, np.inf):
        got = log_prob_and_gradients(x, log_mean, np.full_like(x, log_r))
        np.testing.assert_allclose(got[0], poisson, rtol=5e-4)
        assert all(np.isfinite(a).all() for a in got)
        np.testing.assert_allclose(got[2], 0.0, atol=1e-4)
    small = [log_prob_and_gradients(x, log_mean, np.full_like(x, log_r)) for log_r in (-30, -70)]
    small_enough = x * np.exp(-30.0 - log_mean) < 1e-4
    assert small_enough.mean() > 0.8
    change = np.where(x > 0, -40.0, 0.0)[small_enough]
    np.testing.assert_allclose((small[1][0] - small[0][0])[small_enough], change, atol=1e-3)
    np.testing.assert_allclose(small[1][2], x > 0, atol=1e-4)


def test_counts_outside_of_the_support_have_probability_zero():
    p = NegativeBinomial(jnp.zeros(2), jnp.zeros(2))
    np.testing.assert_array_equal(p.log_prob(jnp.array([-1.0, -0.5])), -np.inf)


def test_large_counts_are_sampled_with_the_right_mean_and_variance():
    """Beyond the int32 range, and where a Poisson sampler in float32 is overdispersed."""
    log_mean, log_r = jnp.array([18.0, 22.5, 22.5]), jnp.array([100.0, 3.0, 60.0])
    p = NegativeBinomial(log_mean, log_r)
    x = np.asarray(jax.jit(jax.vmap(p.sample))(jax.random.split(KEY, 4000)), np.float64)
    mean = np.exp(np.float64(log_mean))
    variance = mean + mean**2 * np.exp(-np.float64(log_r))
    standard_error = np.sqrt(variance / len(x))
    assert (np.abs(x.mean(axis=0) - mean) < 4 * standard_error + 1e-6 * mean).all()
    np.testing.assert_allclose(x.var(axis=0)[:2], variance[:2], rtol=0.1)


def test_the_likelihood_is_poisson_for_means_over_three_thousand():
    """At its largest concentration, which the decoder's features may reach."""
    counts = np.array([2_900.0, 30_000.0, 3e6], np.float32)
    log_mean = np.log(counts) + np.float32(0.001)
    p = negative_binomial().apply(jnp.stack([log_mean, np.full(3, 1e3, np.float32)], axis=-1))
    want = stats.poisson(np.exp(np.float64(log_mean))).logpmf(counts)
    np.testing.assert_allclose(p.log_prob(counts[:, None])[:, 0], want, rtol=1e-4)
