"""Distributions of events with missing elements, against the elements that are there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vaejax import distributions as d
from vaejax.core.events import event, event_mask
from vaejax.core.game import Latent, Trace
from vaejax.distributions.point_estimate import point_estimate
from vaejax.losses import kl, nll, nll_optimal
from vaejax.losses.metrics import trace_metrics

RANDOM = np.random.RandomState(0)
X = RANDOM.normal(size=(3, 5)).astype(np.float32)
LOC, SCALE = X + 0.3, np.full_like(X, 0.5)
MASK = np.array([[1, 0, 1, 1, 0], [1, 1, 1, 1, 1], [0, 0, 0, 1, 0]], bool)


def trace_of(p, x, latents=()):
    losses = {}
    trace = Trace(jnp.asarray(x), p, latents)
    for transform in (nll(), kl()):
        losses = transform.apply(losses, {}, trace, jax.random.key(0))
    return losses, trace


def test_the_log_density_and_the_metrics_are_those_of_the_present_elements():
    p = d.with_missing(d.Normal(jnp.asarray(LOC), jnp.asarray(SCALE)), X, jnp.asarray(MASK))
    losses, trace = trace_of(p, X)
    log_p = np.where(MASK, scipy.stats.norm.logpdf(X, LOC, SCALE), 0.0)
    np.testing.assert_allclose(losses["nll"], -log_p.sum(axis=1), rtol=1e-5)
    metrics = trace_metrics(losses, trace)
    want = np.where(MASK, (X - LOC) ** 2, 0).sum(axis=1) / MASK.sum(axis=1)
    np.testing.assert_allclose(metrics["mse"], want, rtol=1e-5)
    np.testing.assert_array_equal(p.mean, LOC)


def test_missing_values_have_no_gradient_even_if_they_are_not_numbers():
    def loss(loc, x):
        batch = {"vector": x, "mask": MASK}
        p = d.with_missing(d.Normal(loc, jnp.ones_like(loc)), x, event_mask(batch))
        return -p.log_prob(event(batch)).sum()

    x = np.where(MASK, X, np.nan).astype(np.float32)
    grad = jax.grad(loss)(jnp.asarray(LOC), jnp.asarray(x))
    np.testing.assert_allclose(grad, np.where(MASK, LOC - X, 0.0), rtol=1e-5)


def test_units_of_the_data_change_the_density_of_present_elements_alone():
    shift, scale = np.arange(5, dtype=np.float32), np.array([1, 2, 3, 4, 5], np.float32)
    base = d.with_missing(d.Normal(jnp.asarray(LOC), jnp.asarray(SCALE)), X, jnp.asarray(MASK))
    p, x = d.in_units(base, shift, scale), shift + scale * X
    want = scipy.stats.norm.logpdf(x, shift + scale * LOC, scale * SCALE)
    np.testing.assert_allclose(p.log_prob(x), np.where(MASK, want, 0.0), rtol=1e-4)
    back, u, log_scale = d.in_base_units(p, jnp.asarray(x))
    np.testing.assert_allclose(u, X, rtol=1e-4)
    np.testing.assert_allclose(log_scale, (MASK * np.log(scale)).sum(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(d.elements_present(back, u), MASK)


def test_the_optimal_scale_is_that_of_present_elements():
    p = d.with_missing(d.Normal(jnp.asarray(LOC), jnp.asarray(SCALE)), X, jnp.asarray(MASK))
    trace = Trace(jnp.asarray(X), p, ())
    value = nll_optimal().apply({}, {}, trace, jax.random.key(0))["nll_optimal"]
    error = ((X - LOC) ** 2)[MASK]
    log_p = scipy.stats.norm.logpdf(np.sqrt(error), 0, np.sqrt(error.mean())).sum()
    np.testing.assert_allclose(value, -log_p / 3, rtol=1e-4)


def test_classes_and_bits_per_token():
    logits = RANDOM.normal(size=(2, 4, 3)).astype(np.float32)
    tokens = np.array([[0, 1, 2, 0], [2, 2, 0, 0]], np.int32)
    mask = np.array([[1, 1, 1, 0], [1, 0, 0, 0]], bool)
    p = d.with_missing(d.Categorical(jnp.asarray(logits)), tokens, jnp.asarray(mask))
    losses, trace = trace_of(p, tokens)
    metrics = trace_metrics(losses, trace)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    chosen = np.take_along_axis(log_p, tokens[..., None], axis=-1)[..., 0]
    bits = -np.where(mask, chosen, 0).sum(1) / mask.sum(1) / np.log(2)
    np.testing.assert_allclose(metrics["bits_per_dim"], bits, rtol=1e-5)
    right = np.where(mask, logits.argmax(-1) == tokens, 0).sum(1) / mask.sum(1)
    np.testing.assert_allclose(metrics["accuracy"], right, rtol=1e-6)
    np.testing.assert_array_equal(p.indices[0, 3], -1)
    np.testing.assert_array_equal(point_estimate(p), logits.argmax(-1))


def test_the_kl_of_a_node_is_that_of_its_present_positions():
    q, prior = d.Normal(LOC, SCALE), d.Normal(jnp.zeros_like(X), jnp.ones_like(X))
    full = d.kl(q, prior, X)
    masked = d.with_missing(q, X, jnp.asarray(MASK)), d.with_missing(prior, X, jnp.asarray(MASK))
    assert d.has_closed_form(*masked)
    np.testing.assert_array_equal(d.kl(*masked, X), np.where(MASK, full, 0.0))
    sampled = Latent(masked[0], d.with_missing(d.MonteCarloKL(prior), X, jnp.asarray(MASK)), X)
    losses, _ = trace_of(d.Normal(LOC, SCALE), X, (sampled,))
    want = scipy.stats.norm.logpdf(X, LOC, SCALE) - scipy.stats.norm.logpdf(X)
    np.testing.assert_allclose(losses["kl"][:, 0], np.where(MASK, want, 0).sum(1), rtol=1e-4)


def test_examples_of_which_nothing_is_present_do_not_enter_means():
    mask = MASK.copy()
    mask[2] = False
    p = d.with_missing(d.Normal(jnp.asarray(LOC), jnp.asarray(SCALE)), X, jnp.asarray(mask))
    metrics = trace_metrics(*trace_of(p, X))
    rows = np.where(mask, (X - LOC) ** 2, 0).sum(axis=1)[:2] / mask[:2].sum(axis=1)
    np.testing.assert_allclose(metrics["mse"].mean(), rows.mean(), rtol=1e-5)


def test_pixels_have_one_mask_for_all_channels():
    features = RANDOM.normal(size=(2, 3, 3, 20)).astype(np.float32)
    x = RANDOM.randint(0, 256, (2, 3, 3, 2)).astype(np.float32) / 255
    mask = RANDOM.uniform(size=(2, 3, 3)) < 0.5
    base = d.likelihoods.discretized_logistic_mixture(3).apply(features[..., :18])
    want = np.where(mask, base.log_prob(x), 0.0)
    np.testing.assert_array_equal(d.with_missing(base, x, jnp.asarray(mask)).log_prob(x), want)


def test_a_density_of_whole_vectors_refuses_a_mask():
    p = d.MultivariateNormal(jnp.zeros((3, 5)), jnp.broadcast_to(jnp.eye(5)[None], (3, 5, 5)))
    with pytest.raises(ValueError, match="MultivariateNormal is a density of whole events"):
        d.with_missing(p, X, jnp.asarray(MASK))


@pytest.mark.parametrize(
    "mask", [MASK.astype(np.float32), MASK[:, :4], MASK[..., None]], ids=["float", "short", "rank"]
)
def test_masks_that_do_not_fit_are_refused(mask):
    with pytest.raises(ValueError, match=r"must be bool \[3, 5\], true where a value is present"):
        event({"vector": jnp.asarray(X), "mask": jnp.asarray(mask)})
