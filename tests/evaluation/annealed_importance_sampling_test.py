"""Annealed importance sampling of linear Gaussian models, for which every π_β is a Gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.evaluation.likelihood_test import BATCH, KEY, NOISE, W, X, exact, linear_gaussian
from vaejax.evaluation.annealed_importance_sampling import (
    annealed_importance_sampling,
    beta_schedule,
    bidirectional_monte_carlo,
)


def run(**options):
    model = linear_gaussian()
    params = model.init(KEY, BATCH)
    settings = {"temperatures": 100, "chains": 32, **options}
    return jax.jit(lambda key: annealed_importance_sampling(model, params, BATCH, key, **settings))(
        KEY
    )


def test_log_likelihood_is_exact_for_an_inexact_encoder():
    estimate = run(chains=256)
    np.testing.assert_allclose(estimate.log_p, exact(), atol=0.15)
    assert abs((estimate.log_p - exact()).mean()) < 0.04
    assert estimate.accepted.min() > 0.5


def test_few_temperatures_underestimate():
    estimate = run(temperatures=3, chains=1)
    assert (np.asarray(estimate.log_p) - exact()).mean() < -0.3


def test_rate_distortion_curve_is_that_of_gaussians():
    """π_β = N(m, S), S⁻¹ = I + β WᵀW/σ²: D = E −log p(x | z), R = KL(N(m, S) ‖ N(0, I))."""
    estimate = run(temperatures=200, chains=256)
    for t in (40, 100, 160, 199):
        beta = float(estimate.beta[t])
        s = np.linalg.inv(np.eye(2) + beta * W.T @ W / NOISE**2)
        m = beta * X @ W @ s.T / NOISE**2
        squares = np.square(X - m @ W.T).sum(axis=1) + np.trace(W @ s @ W.T)
        distortion = 0.5 * squares / NOISE**2 + 1.5 * np.log(2 * np.pi * NOISE**2)
        rate = 0.5 * (np.trace(s) + np.square(m).sum(axis=1) - 2 - np.log(np.linalg.det(s)))
        np.testing.assert_allclose(estimate.distortion[t].mean(), distortion.mean(), atol=0.05)
        np.testing.assert_allclose(estimate.rate[t].mean(), rate.mean(), atol=0.05)


def test_forward_and_backward_chains_bound_the_exact_value():
    model = linear_gaussian()
    batch = {"vector": jnp.zeros((200, 3))}
    params = model.init(KEY, batch)
    options = {"temperatures": 20, "chains": 4, "step_size": 0.3}
    bounds = jax.jit(lambda key: bidirectional_monte_carlo(model, params, batch, key, **options))
    lower, upper = map(np.asarray, bounds(KEY))
    gap = upper - lower
    assert 0 < gap.mean() < 0.5
    assert gap.mean() > 3 * gap.std() / np.sqrt(len(gap))
    # The mean of log p(x) over x of the model is −entropy of N(0, WWᵀ + σ² I).
    covariance = W @ W.T + NOISE**2 * np.eye(3)
    entropy = 0.5 * np.log(np.linalg.det(2 * np.pi * np.e * covariance))
    error = 4 * np.std(lower) / np.sqrt(len(lower))
    assert lower.mean() - error < -entropy < upper.mean() + error


def test_schedule_goes_from_0_to_1():
    betas = np.asarray(beta_schedule(10))
    assert betas.shape == (11,)
    assert betas[0] == 0
    np.testing.assert_allclose(betas[-1], 1.0, rtol=1e-6)
    assert (np.diff(betas) > 0).all()


def test_models_of_several_nodes_are_rejected():
    model = linear_gaussian()

    def encode_two(params, batch, key):
        return model.encode(params, batch, key) * 2

    two_nodes = model._replace(encode=encode_two)
    with pytest.raises(ValueError, match="one continuous node, this one has 2"):
        annealed_importance_sampling(two_nodes, model.init(KEY, BATCH), BATCH, KEY)
