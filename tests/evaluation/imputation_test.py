"""Imputation against the exact conditional distribution of a linear-Gaussian model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.core.game import Latent, Model
from vaejax.distributions import Categorical, Normal
from vaejax.distributions.mixed import Mixed
from vaejax.evaluation import imputer

W = np.array([[1.0, 0.0], [2.0, 1.0], [-1.0, 0.5], [0.5, -1.5]])
SHIFT, NOISE = np.array([1.0, -2.0, 0.0, 3.0]), 0.6
X = np.array([2.0, np.nan, 0.5, np.nan])
CHAINS = 1024


def linear_gaussian():
    """x = W z + shift + noise; q(z | x) is wrong on purpose: too wide, and shifted."""
    w, shift = jnp.float32(W), jnp.float32(SHIFT)

    def prior(n):
        return Normal(jnp.zeros((n, 2)), jnp.ones((n, 2)))

    def encode(params, batch, key):
        x = batch["vector"]
        q = Normal((x - shift[None]) @ w / 8 + 0.1, jnp.full((len(x), 2), 0.8))
        return (Latent(q, prior(len(x)), q.mean if key is None else q.sample(key)),)

    def decode(params, zs, condition=None):
        return Normal(zs[0] @ w.T + shift[None], jnp.full((len(zs[0]), 4), NOISE))

    def generate(params, key, n, condition=None, temperature=1.0):
        return decode(params, (prior(n).sample(key),))

    return Model(None, None, encode, decode, generate)


def exact():
    """Mean and covariance of the missing elements given the others, float64."""
    missing = np.isnan(X)
    covariance = W @ W.T + NOISE**2 * np.eye(4)
    gain = covariance[missing][:, ~missing] @ np.linalg.inv(covariance[~missing][:, ~missing])
    mean = SHIFT[missing] + gain @ (X - SHIFT)[~missing]
    return mean, covariance[missing][:, missing] - gain @ covariance[~missing][:, missing]


@pytest.fixture(scope="module")
def imputed():
    x = jnp.tile(jnp.float32(np.nan_to_num(X)), (CHAINS, 1))
    missing = jnp.tile(jnp.isnan(jnp.float32(X)), (CHAINS, 1))
    function = jax.jit(imputer(linear_gaussian(), steps=600, burn_in=100))
    return [
        np.asarray(a, np.float64) for a in function({}, {"vector": x}, missing, jax.random.key(1))
    ]


def test_means_are_conditional_means(imputed):
    means = imputed[0][:, np.isnan(X)]
    error = means.std(axis=0) / np.sqrt(CHAINS)  # of independent chains
    assert (error < 0.02).all()
    assert (np.abs(means.mean(axis=0) - exact()[0]) < 4 * error).all()


def test_samples_have_the_conditional_covariance(imputed):
    samples = imputed[1][:, np.isnan(X)]
    mean, covariance = exact()
    whitened = np.linalg.solve(np.linalg.cholesky(covariance), (samples - mean).T)
    assert (np.abs(whitened.mean(axis=1)) < 4 / np.sqrt(CHAINS)).all()
    np.testing.assert_allclose(np.cov(whitened), np.eye(2), atol=4 * np.sqrt(2 / CHAINS))


def test_observed_elements_stay(imputed):
    observed = ~np.isnan(X)
    for filled in imputed:
        assert (filled[:, observed] == X[observed].astype(np.float32)).all()


def test_classes():
    """Two tokens that agree, of three classes; the second is missing."""
    logits = jnp.log(jnp.float32([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]))

    def encode(params, batch, key):
        z = batch["tokens"][:, :1]
        q = Categorical(10.0 * jax.nn.one_hot(z, 3))
        return (Latent(q, q, z),)

    def decode(params, zs, condition=None):
        return Categorical(jnp.repeat(logits[zs[0]], 2, axis=1))

    def generate(params, key, n, condition=None, temperature=1.0):
        return decode(params, (jnp.zeros((n, 1), jnp.int32),))

    model = Model(None, None, encode, decode, generate)
    tokens = {"tokens": jnp.array([[0, 0], [1, 0], [2, 0]])}
    missing = jnp.array([[False, True]] * 3)
    mean, last = imputer(model, steps=8, burn_in=2)({}, tokens, missing, jax.random.key(0))
    assert mean.tolist() == [[0, 0], [1, 1], [2, 2]]
    assert (last.dtype, last[:, 0].tolist()) == (jnp.int32, [0, 1, 2])


def test_missing_categories_are_the_most_probable_classes():
    """One number and one of three classes that depend on z; the truth is by quadrature over z."""
    numbers = np.linspace(-2, 2, 8, dtype=np.float32)
    slopes, offsets, noise = np.float32([0, 2, -2]), np.float32([0.8, 0, 0]), 0.5

    def decode(params, zs, condition=None):
        logits = zs[0][:, :, None] * slopes[None, None] + offsets[None, None]
        return Mixed(Normal(zs[0], jnp.full_like(zs[0], noise)), (Categorical(logits),), (0, 3))

    def encode(params, batch, key):
        mean = 0.7 * batch["vector"][:, :1]
        q, p = Normal(mean, jnp.full_like(mean, 0.6)), Normal(mean * 0, jnp.ones_like(mean))
        return (Latent(q, p, q.mean if key is None else q.sample(key)),)

    def generate(params, key, n, condition=None, temperature=1.0):
        return decode(params, (jax.random.normal(key, (n, 1)),))

    x = jnp.stack([numbers, np.zeros(8, np.float32)], axis=1)
    missing = jnp.tile(jnp.array([False, True]), (8, 1))
    function = jax.jit(imputer(Model(None, None, encode, decode, generate), 400, 100))
    means, samples = function({}, {"vector": x}, missing, jax.random.key(0))

    z = np.linspace(-6, 6, 4001)
    weight = np.exp(-(z**2) / 2 - (numbers[:, None] - z) ** 2 / (2 * noise**2))  # [8, Z]
    logits = z[:, None] * slopes + offsets
    chances = np.exp(logits - np.logaddexp.reduce(logits, axis=1)[:, None])  # [Z, 3]
    truth = (weight @ chances).argmax(axis=1)
    assert set(truth) == {0, 1, 2}
    np.testing.assert_array_equal(means, np.stack([numbers, truth], axis=1))
    assert np.isin(samples[:, 1], [0, 1, 2]).all()
