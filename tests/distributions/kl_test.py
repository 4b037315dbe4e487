"""KL divergences against sums in float64 and Monte Carlo averages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from tests.distributions.compiled import KEY, kl, normal
from vaejax import distributions as d


def test_kl_of_impossible_classes_is_finite_where_the_posterior_excludes_them():
    """Classes, and coins, that q excludes; −∞ logits of p that q excludes too; gradients."""
    inf = np.inf
    q = d.Categorical(jnp.array([[0.0, -inf, 1.0], [-inf, 0.5, -inf], [0.0, -1.0, -300.0]]))
    p = d.Categorical(jnp.array([[0.3, 1.0, 0.0], [0.0, 0.0, -inf], [0.0, 0.0, -inf]]))
    a, b = (scipy.special.softmax(np.asarray(x.logits, np.float64), -1) for x in (q, p))
    b[2, 2] = 1.0  # of probability e⁻³⁰⁰ under q
    want = scipy.special.rel_entr(np.where(a < 1e-100, 0, a), b).sum(axis=-1)
    np.testing.assert_allclose(kl(q, p), want, rtol=1e-5, atol=1e-7)
    entropy = scipy.special.entr(a).sum(axis=-1)
    np.testing.assert_allclose(d.kl(q, d.Uniform(3), None), np.log(3) - entropy, atol=1e-6)
    for other in (p, d.Uniform(3)):
        gradient = jax.jit(
            jax.grad(lambda x, other=other: d.kl(d.Categorical(x), other, None).sum())
        )
        assert np.isfinite(gradient(q.logits)).all()
    assert np.isinf(kl(p, q)[1])

    coins = jnp.array([-inf, inf, 0.7, -inf])
    other = jnp.array([0.4, -0.2, 0.1, -inf])
    a, b = (scipy.special.expit(np.asarray(x, np.float64)) for x in (coins, other))
    want = scipy.special.rel_entr(a, b) + scipy.special.rel_entr(1 - a, 1 - b)
    np.testing.assert_allclose(kl(d.Bernoulli(coins), d.Bernoulli(other)), want, rtol=1e-5)


def test_kl_of_no_code_is_zero_under_any_prior():
    indices = jnp.array([2, -1, 0])
    zeros = jnp.zeros((3, 2))
    q = d.OneHotCodes(zeros, zeros, indices, 4)
    p = d.Categorical(jax.random.normal(KEY, (3, 4)))
    want = -np.log(scipy.special.softmax(np.asarray(p.logits), -1))[[0, 1, 2], [2, 0, 0]]
    np.testing.assert_allclose(kl(q, p), want * [1, 0, 1], rtol=1e-5)
    np.testing.assert_allclose(d.kl(q, d.Uniform(4), None), np.log(4) * np.array([1, 0, 1]))


PAIRS = {
    "normal": (normal(jax.random.key(1), (4,)), normal(jax.random.key(2), (4,))),
    "bernoulli": (d.Bernoulli(jnp.array([-1.0, 2.0])), d.Bernoulli(jnp.array([0.5, 1.0]))),
    "categorical": (
        d.Categorical(jax.random.normal(jax.random.key(3), (2, 5))),
        d.Categorical(jax.random.normal(jax.random.key(4), (2, 5))),
    ),
    "categorical-uniform": (
        d.Categorical(jax.random.normal(jax.random.key(5), (2, 5))),
        d.Uniform(5, (2,)),
    ),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_closed_form_kl_equals_the_monte_carlo_average(pair):
    q, p = PAIRS[pair]
    assert d.has_closed_form(q, p)

    @jax.jit
    @jax.vmap
    def ratio(key):
        z = q.sample(key)
        return q.log_prob(z) - p.log_prob(z)

    ratios = np.asarray(ratio(jax.random.split(KEY, 200_000)), np.float64)
    error = ratios.std(0) / np.sqrt(len(ratios))
    assert (np.abs(kl(q, p) - ratios.mean(0)) < 5 * error + 1e-6).all()
    np.testing.assert_allclose(kl(q, q), 0.0, atol=1e-6)


def test_without_a_closed_form_the_kl_is_estimated_from_one_sample():
    q = d.Normal(jnp.zeros(3), jnp.ones(3))
    p = d.DiscretizedLogistic(jnp.zeros(3), jnp.ones(3))
    z = jnp.array([0.0, 0.5, 1.0])
    assert not d.has_closed_form(q, p)
    np.testing.assert_array_equal(d.kl(q, p, z), q.log_prob(z) - p.log_prob(z))


def test_the_kl_of_each_code_to_a_uniform_prior_is_log_k():
    indices = jnp.array([[0, 3], [2, 2]], jnp.int32)
    q = d.OneHotCodes(jnp.zeros((2, 2, 4)), jnp.zeros((2, 2, 4)), indices, 8)
    p = d.Uniform(8, (2, 2))
    np.testing.assert_allclose(d.kl(q, p, indices), np.full((2, 2), np.log(8)), rtol=1e-6)
    np.testing.assert_allclose(q.log_prob(indices) - p.log_prob(indices), np.log(8), rtol=1e-6)
    samples = np.asarray(d.Uniform(8, (20_000,)).sample(KEY))
    np.testing.assert_allclose(np.bincount(samples, minlength=8) / 20_000, 1 / 8, atol=0.01)


def test_the_kl_of_codes_to_a_categorical_prior_is_minus_their_log_probability():
    indices = jnp.array([[0, 3], [2, 2]], jnp.int32)
    features = jnp.zeros((2, 2, 5))
    q, p = (
        d.OneHotCodes(features, features, indices, 4),
        d.Categorical(jax.random.normal(KEY, (2, 2, 4))),
    )
    log_p = np.log(scipy.special.softmax(np.asarray(p.logits, np.float64), -1))
    want = -np.take_along_axis(log_p, np.asarray(indices)[..., None], -1)[..., 0]
    np.testing.assert_allclose(d.kl(q, p, features), want, rtol=1e-5)
    assert d.has_closed_form(q, p)
