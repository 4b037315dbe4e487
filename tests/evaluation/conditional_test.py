"""Metrics of conditional models against quadrature and closed forms."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from tests.random_params import random_params
from vaejax import families
from vaejax.core import game
from vaejax.core.sharding import make_mesh
from vaejax.data.quadrants import with_quadrants
from vaejax.data.readers.npz import from_arrays
from vaejax.evaluation import EvaluationContext, conditional, evaluator
from vaejax.evaluation.conditional_samples import evenly_spaced_examples
from vaejax.evaluation.likelihood import importance_sampled

SHAPE, CLASSES = (4, 4, 1), 3
MLP = {"kind": "mlp", "hidden": (8,)}
RNG = np.random.RandomState(0)
PIXELS = RNG.randint(0, 256, (23, 4, 4)).astype(np.uint8)
LABEL = np.array([0, 2] * 11 + [0])  # no example of class 1
PLAYERS = {"vae": ({"nll": 1.0, "kl": 1.0}, optax.sgd(0.1))}


def source():
    data = from_arrays({"image": PIXELS, "label": LABEL}, holdout=0)
    return dataclasses.replace(data, num_classes=CLASSES)


def cvae(data, **options):
    """A family with one latent, and parameters far from their initial values."""
    options = {"latent_dim": 1, "network": MLP, "prior_network": MLP, **options}
    family = families.cvae(SHAPE, PLAYERS, classes=CLASSES, **options)
    batch = evenly_spaced_examples(EvaluationContext(None, {}, data), 4)
    init = functools.partial(game.init, family)
    return family, random_params(init, jax.random.key(0), batch, noise=0.3)


def dense(p, *inputs):
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), p)
    x = np.concatenate([a.reshape(len(a), -1) for a in inputs], axis=1)
    x = np.maximum(x @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"], 0)
    return x @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"]


def log_likelihood(logits, x):
    """log p(x | z, c) `[B]` of a Bernoulli likelihood."""
    return -(np.logaddexp(0, logits) - x.reshape(len(x), -1) * logits).sum(axis=1)


def gaussian(features):
    loc, log_variance = np.split(features, 2, axis=1)
    return loc[:, 0], np.exp(log_variance[:, 0] / 2)


@pytest.mark.parametrize("target", ["all", "three quadrants"])
def test_conditional_nll_by_quadrature_over_one_latent(target):
    data = source()
    if target == "all":
        family, params = cvae(data)
        x, c, mask = PIXELS / 255, np.eye(CLASSES)[LABEL], np.ones((23, 16))
    else:
        data = with_quadrants(data, 1)
        family, params = cvae(data, condition="condition")
        x, mask = PIXELS / 255, np.ones((4, 4))
        mask[2:, :2] = 0
        c = np.where(mask == 1, -1.0, x)
        mask = np.broadcast_to(mask.reshape(1, 16), (23, 16))
    # A posterior wider than the prior, so that the weights have a variance.
    bias = params["encoder"]["Dense_1"]["bias"]
    params["encoder"]["Dense_1"]["bias"] = bias + jnp.asarray([0.0, 1.5])
    q_loc, q_scale = gaussian(dense(params["encoder"], x, c))
    p_loc, p_scale = gaussian(dense(params["prior"], c))

    def log_p(z):  # [G, 23]
        logits = dense(params["decoder"], z.reshape(-1, 1), np.tile(c.reshape(23, -1), (len(z), 1)))
        logits = logits.reshape(-1, 23, 16)
        return -((np.logaddexp(0, logits) - x.reshape(23, 16) * logits) * mask).sum(axis=2)

    # Moments of the weights under q, on a grid that is fine and wide for all densities here.
    grid = np.linspace(-8, 8, 8001)
    density = (scipy.stats.norm.pdf(grid) * (grid[1] - grid[0]))[:, None]
    z = q_loc + q_scale * grid[:, None]
    log_w = scipy.stats.norm.logpdf(z, p_loc, p_scale) - scipy.stats.norm.logpdf(z, q_loc, q_scale)
    log_w += log_p(z)
    particles = 2000
    context = EvaluationContext(family, params, data, batch_size=8)
    got = conditional.conditional_nll(context, particles=particles)

    mean = (log_w * density).sum(axis=0)
    variance = ((log_w - mean) ** 2 * density).sum(axis=0)
    error = np.sqrt(variance.sum() / particles) / 23
    assert abs(got["conditional_nll/recognition"] + mean.mean()) < 4 * error

    evidence = (np.exp(log_w) * density).sum(axis=0)  # p(x | c), whatever q is
    at_prior = np.exp(log_p(p_loc + p_scale * grid[:, None]))
    np.testing.assert_allclose(evidence, (at_prior * density).sum(axis=0), rtol=1e-6)
    spread = (np.exp(2 * log_w) * density).sum(axis=0) / evidence**2 - 1
    bias, error = spread.mean() / (2 * particles), np.sqrt(spread.sum() / particles) / 23
    gap = got["conditional_nll/importance"] + np.log(evidence).mean()
    assert abs(gap - bias) < 4 * error
    assert error < 0.01 * (variance.mean() + 1)  # the test is sensitive

    # The general estimator of the library, from other samples.
    other = importance_sampled(context, particles)
    assert abs(np.log(evidence).mean() - other - bias) < 4 * error

    few = conditional.conditional_nll(context, particles=1, examples=5)
    recognition, importance = few.values()
    np.testing.assert_allclose(recognition, importance, rtol=1e-6)  # equal for one particle


def test_elbo_of_each_class_by_a_closed_form():
    """The ELBO of a decoder that ignores z is not random."""
    data = source()
    family, params = cvae(data)
    kernel = np.asarray(params["decoder"]["Dense_0"]["kernel"]).copy()
    kernel[0] = 0.0  # the weights of z
    params["decoder"]["Dense_0"]["kernel"] = jnp.asarray(kernel)
    x, c = PIXELS / 255, np.eye(CLASSES)[LABEL]
    log_p = log_likelihood(dense(params["decoder"], np.zeros((23, 1)), c), x)
    (m, s), (n, t) = gaussian(dense(params["encoder"], x, c)), gaussian(dense(params["prior"], c))
    elbo = log_p - (np.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - 0.5)
    context = EvaluationContext(family, params, data, batch_size=8)
    got = conditional.elbo_per_class(context)
    assert set(got) == {"elbo/class_0", "elbo/class_2"}  # class 1 does not occur
    for k in (0, 2):
        np.testing.assert_allclose(got[f"elbo/class_{k}"], elbo[k == LABEL].mean(), rtol=1e-5)
    plain = from_arrays(PIXELS, holdout=0)
    with pytest.raises(ValueError, match="has no classes"):
        conditional.elbo_per_class(EvaluationContext(family, params, plain))


def test_elbo_of_the_classes_and_of_the_split_agree():
    data = source()
    family, params = cvae(data)
    got = conditional.elbo_per_class(EvaluationContext(family, params, data, batch_size=8, seed=4))
    counts = np.bincount(LABEL, minlength=CLASSES)
    total = sum(got[f"elbo/class_{k}"] * counts[k] for k in (0, 2)) / 23
    evaluate = evaluator(family, data, make_mesh(1), batch_size=8, seed=4)
    np.testing.assert_allclose(total, evaluate(params, 0)["elbo"], rtol=1e-6)
