"""The mixture of full-covariance Gaussians: density, samples, and fit against EM in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from vaejax import families
from vaejax.core.token_layout import CodeMap, Layout
from vaejax.data.readers.npz import from_arrays
from vaejax.distributions import MultivariateNormal
from vaejax.second_stage import gaussian_mixture
from vaejax.training import Settings, Trainer, fit

KEY = jax.random.key(0)
D, K = 3, 4
RNG = np.random.RandomState(0)
MEANS = 4 * RNG.randn(K, D)
MIXING = RNG.randn(K, D, D)
WEIGHTS = np.array([0.4, 0.3, 0.2, 0.1])


def data(n, seed):
    random = np.random.RandomState(seed)
    which = random.choice(K, n, p=WEIGHTS)
    return (MEANS[which] + np.einsum("nij,nj->ni", MIXING[which], random.randn(n, D))).astype("f4")


def log_density(x, weights, means, covariances):
    parts = [
        np.log(w) + scipy.stats.multivariate_normal(m, c).logpdf(x)
        for w, m, c in zip(weights, means, covariances, strict=True)
    ]
    return np.logaddexp.reduce(parts, axis=0)


def em(x, weights, means, covariances, steps=200):
    """Expectation maximisation in float64."""
    for _ in range(steps):
        parts = [
            np.log(w) + scipy.stats.multivariate_normal(m, c).logpdf(x)
            for w, m, c in zip(weights, means, covariances, strict=True)
        ]
        r = np.exp(parts - np.logaddexp.reduce(parts, axis=0)[None])  # [K, N]
        weights = r.mean(axis=1)
        means = r @ x / r.sum(axis=1)[:, None]
        gaps = x[None] - means[:, None]
        covariances = np.einsum("kn,kni,knj->kij", r, gaps, gaps) / r.sum(1)[:, None, None]
    return weights, means, covariances


def moments(params):
    """Weights, means and covariances of a group of parameters, in float64."""
    p = {name: np.asarray(a, np.float64) for name, a in params["prior"].items()}
    weights = np.exp(p["logits"] - np.logaddexp.reduce(p["logits"]))
    factor = np.tril(p["lower"], -1) + np.stack([np.diag(np.exp(d)) for d in p["log_diagonal"]])
    return weights, p["loc"], np.linalg.inv(factor.swapaxes(1, 2) @ factor)


def test_the_density_of_one_gaussian():
    factor = np.tril(RNG.randn(D, D)) + 2 * np.eye(D)
    covariance, x = np.linalg.inv(factor.T @ factor), RNG.randn(7, D)
    p = MultivariateNormal(jnp.asarray(MEANS[0], "f4")[None], jnp.asarray(factor, "f4")[None])
    want = scipy.stats.multivariate_normal(MEANS[0], covariance).logpdf(x)
    np.testing.assert_allclose(p.log_prob(jnp.asarray(x, "f4")), want, rtol=1e-4)
    wide = jax.tree.map(lambda a: jnp.repeat(a, 200_000, axis=0), p)
    samples = np.asarray(jax.jit(lambda p: p.sample(KEY))(wide), np.float64)
    scale = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((samples.mean(0) - MEANS[0]) / scale, np.zeros(D), atol=0.012)
    np.testing.assert_allclose(np.cov(samples.T) / np.outer(scale, scale),
                               covariance / np.outer(scale, scale), atol=0.02)  # fmt: skip


def test_the_initial_mixture_has_the_moments_of_the_clusters():
    x = data(2000, 1)
    model = gaussian_mixture(D, K)
    params = jax.jit(model.init)(KEY, {"vector": x})
    trace = jax.jit(model.forward)(params, {"vector": x}, KEY, None)
    want = log_density(x, *moments(params))
    np.testing.assert_allclose(trace.likelihood.log_prob(x), want, rtol=1e-4, atol=1e-4)
    assert trace.latents == ()
    truth = log_density(x, WEIGHTS, MEANS, MIXING @ MIXING.swapaxes(1, 2)).mean()
    single = log_density(x, [1.0], [x.mean(0)], [np.cov(x.T)]).mean()
    assert single < want.mean() <= truth + 0.05


def test_covariances_of_small_clusters_have_full_rank():
    model = gaussian_mixture(D, 16)
    params = jax.jit(model.init)(KEY, {"vector": data(20, 1)})
    _, _, covariances = moments(params)
    assert np.isfinite(covariances).all()
    assert np.linalg.eigvalsh(covariances).min() > 1e-4


def test_with_no_more_examples_than_components_the_spread_is_that_of_the_data():
    x, held_out = data(16, 1), data(500, 2)
    params = jax.jit(gaussian_mixture(D, 16).init)(KEY, {"vector": x})
    single = log_density(held_out, [1.0], [x.mean(0)], [np.cov(x.T)]).mean()
    assert log_density(held_out, *moments(params)).mean() > single - 1.0


def test_with_fewer_examples_than_dimensions_every_direction_has_variance():
    deviations = np.geomspace(0.1, 10.0, 40)
    x, held_out = (
        deviations * np.random.RandomState(i).randn(n, 40) for i, n in ((0, 8), (1, 500))
    )
    params = jax.jit(gaussian_mixture(40, 2).init)(KEY, {"vector": np.float32(x)})
    _, _, covariances = moments(params)
    correlations = covariances / (deviations[:, None] * deviations)
    assert np.linalg.cond(correlations).max() < 1e4
    independent = log_density(held_out, [1.0], [x.mean(0)], [np.diag(x.var(0, ddof=1))]).mean()
    assert log_density(held_out, *moments(params)).mean() > independent - 30.0


def test_samples_have_the_moments_of_the_mixture():
    x = data(2000, 1)
    model = gaussian_mixture(D, K)
    params = jax.jit(model.init)(KEY, {"vector": x})
    sample = jax.jit(lambda p, t: model.generate(p, KEY, 100_000, None, t).mean)
    weights, means, covariances = moments(params)
    mean = weights @ means
    second = np.einsum("k,kij->ij", weights, covariances + means[:, :, None] * means[:, None])
    samples = np.asarray(sample(params, 1.0), np.float64)
    np.testing.assert_allclose(samples.mean(0), mean, atol=0.06)
    np.testing.assert_allclose(samples.T @ samples / len(samples), second, rtol=0.02, atol=0.15)
    cold = np.asarray(sample(params, 0.0))
    assert np.abs(cold[:, None] - means[None]).max(-1).min(1).max() < 1e-4  # the means only


@pytest.mark.slow
def test_held_out_likelihood_is_that_of_expectation_maximisation():
    arrays = {"train_vector": data(4000, 1), "test_vector": data(4000, 2)}
    source, held_out = from_arrays(arrays), arrays["test_vector"].astype(np.float64)
    rate = optax.cosine_decay_schedule(2e-2, 400)
    players = {"prior": ({"nll": 1.0}, optax.adam(rate))}
    family = families.gaussian_mixture((D,), players, components=K)
    settings = Settings(steps=400, batch_size=1000, steps_per_dispatch=50)
    params = fit(Trainer(family, source, settings), settings).state.params
    got = log_density(held_out, *moments(params)).mean()
    start = jax.jit(family.model.init)(KEY, {"vector": arrays["train_vector"]})
    best = em(arrays["train_vector"].astype(np.float64), *moments(start))
    want = log_density(held_out, *best).mean()
    truth = log_density(held_out, WEIGHTS, MEANS, MIXING @ MIXING.swapaxes(1, 2)).mean()
    assert abs(got - want) < 0.01, (got, want, truth)
    assert abs(got - truth) < 0.02, (got, want, truth)


def test_invalid_arguments_are_reported():
    with pytest.raises(ValueError, match="at least one component, found 0"):
        gaussian_mixture(D, 0)
    with pytest.raises(ValueError, match=r"takes vectors, found events of shape \(4, 4\)"):
        families.gaussian_mixture((4, 4), {"prior": ({"nll": 1.0}, optax.sgd(1.0))})
    codes = Layout((CodeMap((4,), (), 5),))
    with pytest.raises(ValueError, match="takes vectors, found codes"):
        families.gaussian_mixture((4,), {"prior": ({"nll": 1.0}, optax.sgd(1.0))}, layout=codes)
