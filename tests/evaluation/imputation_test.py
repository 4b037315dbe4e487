"""Imputation against the exact conditional distribution of a linear-Gaussian model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.core.game import Latent, Model
from vaejax.distributions import Categorical, Normal
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
