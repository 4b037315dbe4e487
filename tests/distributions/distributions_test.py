"""Distributions against SciPy, brute-force sums over all values, and Monte Carlo."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from vaejax import distributions as d

KEY = jax.random.key(0)


# One program for each class and shape; called one by one, every operation is a program.
@jax.jit
def log_prob(q, x):
    return q.log_prob(x)


@jax.jit
def sample(q, key):
    return q.sample(key)


@jax.jit
def kl(q, p, z=None):
    return d.kl(q, p, z)


def repeat(q, n):
    return jax.tree.map(lambda a: np.broadcast_to(a, (n, *a.shape)), q)


@functools.partial(jax.jit, static_argnums=1)
def normal(key, shape=(3, 4)):
    a, b = jax.random.split(key)
    return d.Normal(jax.random.normal(a, shape), jnp.exp(0.3 * jax.random.normal(b, shape)))


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
