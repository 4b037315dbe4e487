"""Mutual information against a Gaussian aggregate posterior and a brute-force sum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from tests.evaluation.likelihood_test import BATCH, linear_gaussian, source
from vaejax import losses
from vaejax.core.game import Family
from vaejax.data.batches import eval_order
from vaejax.distributions import Normal
from vaejax.evaluation import EvaluationContext
from vaejax.evaluation.mutual_information import (
    MutualInformation,
    gaussian_kl_decomposition,
    mutual_information_of_split,
)

KEY = jax.random.key(0)
PRIOR = Normal(jnp.zeros((1, 2)), jnp.ones((1, 2)))


@pytest.mark.slow
def test_gaussian_aggregate_posterior():
    """The posteriors N(V x, s²) of Gaussian x have a Gaussian aggregate."""
    v = np.array([[0.9, 0.2], [-0.3, 0.5]])
    s = np.array([0.8, 0.6])
    x = np.random.RandomState(0).randn(20_000, 2)
    loc = jnp.asarray(x @ v.T, jnp.float32)
    scale = jnp.broadcast_to(jnp.asarray(s, jnp.float32)[None], loc.shape)
    result = jax.jit(lambda key: gaussian_kl_decomposition(loc, scale, PRIOR, key))(KEY)
    c = v @ v.T + np.diag(s**2)
    want = 0.5 * np.log(np.linalg.det(c) / np.prod(s**2))
    np.testing.assert_allclose(result.mutual_information, want, atol=0.03)
    marginal = 0.5 * (np.trace(c) - 2 - np.log(np.linalg.det(c)))
    np.testing.assert_allclose(result.marginal_kl, marginal, atol=0.03)


class Watched:
    """A density that keeps the points at which a program computes it, in float64."""

    def __init__(self, inner):
        self.inner, self.points = inner, []

    def log_prob(self, z):
        jax.debug.callback(lambda z: self.points.append(np.asarray(z, np.float64)), z)
        return self.inner.log_prob(z)


def test_few_examples_by_a_sum_in_float64():
    random = np.random.RandomState(1)
    loc, scale = random.randn(7, 2), 0.1 + random.rand(7, 2)
    loc32, scale32 = (jnp.asarray(a, jnp.float32) for a in (loc, scale))
    options = {"samples": 3, "chunk": 2}
    prior = Watched(PRIOR)
    result = jax.jit(lambda key: gaussian_kl_decomposition(loc32, scale32, prior, key, **options))(
        KEY
    )
    jax.effects_barrier()
    assert len(prior.points) == 3
    noise = (np.stack(prior.points) - loc) / scale
    assert scipy.stats.kstest(noise.reshape(-1), "norm").pvalue > 1e-3
    assert len(np.unique(noise)) == noise.size
    mi, kl = [], []
    for z in prior.points:
        pairs = scipy.stats.norm.logpdf(z[:, None], loc[None], scale[None]).sum(axis=2)
        aggregate = scipy.special.logsumexp(pairs, axis=1) - np.log(7)
        mi.append((np.diag(pairs) - aggregate).mean())
        kl.append((aggregate - scipy.stats.norm.logpdf(z).sum(axis=1)).mean())
    np.testing.assert_allclose(result.mutual_information, np.mean(mi), rtol=1e-4)
    np.testing.assert_allclose(result.marginal_kl, np.mean(kl), rtol=1e-4)


def test_information_of_well_separated_examples_is_log_n():
    loc = 100.0 * jnp.arange(64, dtype=jnp.float32)[:, None]
    prior = Normal(jnp.zeros((1, 1)), jnp.ones((1, 1)))
    result = gaussian_kl_decomposition(loc, jnp.ones((64, 1)), prior, KEY)
    np.testing.assert_allclose(result.mutual_information, np.log(64), rtol=1e-3)


@pytest.mark.parametrize("examples", [0, 7])
def test_split_by_a_sum_in_float64(examples):
    model, encoded = linear_gaussian(), {}

    def keep(x, *arrays):
        encoded[x.tobytes()] = [np.asarray(a, np.float64) for a in arrays]

    def encode(params, batch, key):
        (node,) = model.encode(params, batch, key)
        q = node.posterior
        jax.debug.callback(keep, batch["vector"], q.loc, q.scale, node.z)
        return (node,)

    params = model.init(KEY, BATCH)
    family = Family(model._replace(encode=encode), losses.nll(), {})
    context = EvaluationContext(family, params, source(10), batch_size=4, seed=3)
    result = mutual_information_of_split(context, examples)
    jax.effects_barrier()
    order, n, batches = eval_order(10), examples or 10, []
    for number in range(-(-n // 4)):
        rows = BATCH["vector"][order[np.arange(4 * number, 4 * number + 4) % 10]]
        batches.append(encoded[np.asarray(rows).tobytes()])
    assert len(encoded) == len(batches)
    loc, scale, z = (np.concatenate(a)[:n] for a in zip(*batches, strict=True))
    noise = (z - loc) / scale
    assert scipy.stats.kstest(noise.reshape(-1), "norm").pvalue > 1e-3
    assert len(np.unique(noise)) == noise.size, "one key for two batches"
    pairs = scipy.stats.norm.logpdf(z[:, None], loc[None], scale[None]).sum(axis=2)
    aggregate = scipy.special.logsumexp(pairs, axis=1) - np.log(n)
    marginal_kl = (aggregate - scipy.stats.norm.logpdf(z).sum(axis=1)).mean()
    want = (np.diag(pairs) - aggregate).mean(), marginal_kl
    got = result["mutual_information"], result["marginal_kl"]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_models_without_mutual_information_are_rejected():
    def reason(**changes):
        model = linear_gaussian()._replace(**changes)
        return MutualInformation().requires(Family(model, losses.nll(), {}), source(10))

    model = linear_gaussian()

    def conditional(*args):
        return model.forward(*args)._replace(condition=jnp.zeros(1))

    assert reason() is None
    assert "condition" in reason(forward=conditional)
    two = reason(encode=lambda *args: 2 * model.encode(*args))
    assert "one node" in two
    assert "Normal [2], Normal [2]" in two
