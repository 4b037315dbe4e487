"""Laplace likelihoods against SciPy and sums over all grey values, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from vaejax.distributions import DiscretizedLaplace, Laplace
from vaejax.distributions.likelihoods import likelihood


def test_the_density_its_moments_and_its_samples():
    rng = np.random.RandomState(0)
    x, loc, scale = rng.randn(3, 5), rng.randn(3, 5), rng.rand(3, 5) + 0.1
    with jax.enable_x64(True):
        p = Laplace(*map(jnp.asarray, (loc, scale)))
        np.testing.assert_allclose(
            p.log_prob(jnp.asarray(x)), stats.laplace.logpdf(x, loc, scale), rtol=1e-12
        )
        np.testing.assert_allclose(p.mean, loc)
        np.testing.assert_allclose(p.variance, stats.laplace.var(loc, scale), rtol=1e-12)
    wide = Laplace(jnp.full(20_000, 0.7), jnp.full(20_000, 0.3))
    sample = np.asarray(wide.sample(jax.random.key(0)))
    assert stats.kstest(sample, stats.laplace(0.7, 0.3).cdf).pvalue > 1e-3


def test_its_likelihood_is_an_absolute_error():
    p = likelihood({"kind": "laplace", "scale": 0.5}).apply(jnp.zeros((1, 3)))
    x = jnp.asarray([[1.0, -2.0, 0.0]])
    np.testing.assert_allclose(-p.log_prob(x), 2 * np.abs(x) + np.log(1.0), rtol=1e-6)


def test_bins_of_every_scale_sum_to_one_and_equal_those_of_scipy():
    levels = 16
    x = np.arange(levels) / (levels - 1)
    for loc, scale in ((0.3, 0.2), (0.3, 1e-3), (-0.5, 0.4), (1.2, 0.05), (0.5 / 15, 0.01)):
        with jax.enable_x64(True):
            full = [jnp.full(levels, v) for v in (loc, scale)]
            p = DiscretizedLaplace(*full, levels)
            log_p = np.asarray(p.log_prob(jnp.asarray(x)))
            mean = float(p.mean[0])
        edges = np.concatenate([[-np.inf], (x[1:] + x[:-1]) / 2, [np.inf]])
        cdf, sf = stats.laplace.cdf(edges, loc, scale), stats.laplace.sf(edges, loc, scale)
        want = np.where(edges[1:] > loc, sf[:-1] - sf[1:], np.diff(cdf))
        central = (edges[:-1] < loc) & (edges[1:] > loc)
        want = np.where(central, np.diff(cdf), want)
        np.testing.assert_allclose(np.exp(log_p), want, rtol=1e-9, atol=1e-300)
        np.testing.assert_allclose(np.exp(log_p).sum(), 1.0, rtol=1e-12)
        grid = np.linspace(loc - 40 * scale, loc + 40 * scale, 400_001)
        clipped = np.trapezoid(np.clip(grid, 0, 1) * stats.laplace.pdf(grid, loc, scale), grid)
        np.testing.assert_allclose(mean, clipped, rtol=1e-5, atol=1e-9)


def test_gradients_are_finite_where_a_bin_contains_the_location():
    def total(loc, scale):
        p = DiscretizedLaplace(jnp.full(256, loc), jnp.full(256, scale))
        return p.log_prob(jnp.arange(256.0) / 255.0).sum()

    for loc in (0.0, 0.5, 100.5 / 255, 1.3):
        gradients = jax.grad(total, argnums=(0, 1))(loc, 1e-3)
        assert np.isfinite(gradients).all()
