"""The negative binomial against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

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
    x = np.asarray(jax.vmap(p.sample)(jax.random.split(KEY, 20_000)))
    for j, (mean, size) in enumerate([(0.3, 0.5), (8.0, 3.0)]):
        nbinom = stats.nbinom(size, size / (size + mean))
        edges = np.arange(30)
        expected = np.append(nbinom.pmf(edges[:-1]), nbinom.sf(28)) * len(x)
        observed = np.bincount(np.minimum(x[:, j].astype(int), 29), minlength=30)
        last = int((expected[:-1] > 5).sum())  # the larger counts are pooled
        pooled = [np.append(a[:last], a[last:].sum()) for a in (observed, expected)]
        assert stats.chisquare(*pooled).pvalue > 1e-3
