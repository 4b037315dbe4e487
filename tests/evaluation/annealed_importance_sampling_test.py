"""Annealing against linear Gaussian models, whose every π_β is a Gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.evaluation.likelihood_test import BATCH, KEY, NOISE, W, X, exact, linear_gaussian
from vaejax.evaluation.annealed_importance_sampling import annealed, schedule, simulated


def run(**options):
    model = linear_gaussian()
    params = model.init(KEY, BATCH)
    settings = {"temperatures": 100, "chains": 32, **options}
    return jax.jit(lambda key: annealed(model, params, BATCH, key, **settings))(KEY)


def test_the_likelihood_is_exact_though_q_is_not_asked():
    found = run(chains=256)
    np.testing.assert_allclose(found.log_p, exact(), atol=0.15)
    assert abs((found.log_p - exact()).mean()) < 0.04
    assert found.accepted.min() > 0.5


def test_few_temperatures_give_less():
    short = run(temperatures=3, chains=1)
    assert (np.asarray(short.log_p) - exact()).mean() < -0.3


def test_the_rate_distortion_curve_is_that_of_gaussians():
    """π_β = N(m, S), S⁻¹ = I + β WᵀW/σ²: D = E −log p(x | z), R = KL(N(m, S) ‖ N(0, I))."""
    found = run(temperatures=200, chains=256)
    for t in (40, 100, 160, 199):
        beta = float(found.beta[t])
        s = np.linalg.inv(np.eye(2) + beta * W.T @ W / NOISE**2)
        m = beta * X @ W @ s.T / NOISE**2
        gap = np.square(X - m @ W.T).sum(axis=1) + np.trace(W @ s @ W.T)
        distortion = 0.5 * gap / NOISE**2 + 1.5 * np.log(2 * np.pi * NOISE**2)
        rate = 0.5 * (np.trace(s) + np.square(m).sum(axis=1) - 2 - np.log(np.linalg.det(s)))
        np.testing.assert_allclose(found.distortion[t].mean(), distortion.mean(), atol=0.05)
        np.testing.assert_allclose(found.rate[t].mean(), rate.mean(), atol=0.05)


def test_chains_from_both_ends_meet_about_the_truth():
    model = linear_gaussian()
    batch = {"vector": jnp.zeros((200, 3))}
    params = model.init(KEY, batch)
    both = jax.jit(
        lambda key: simulated(model, params, batch, key, temperatures=20, chains=4, step_size=0.3)
    )
    lower, upper = map(np.asarray, both(KEY))
    gap = upper - lower
    assert 0 < gap.mean() < 0.5
    assert gap.mean() > 3 * gap.std() / np.sqrt(len(gap))
    # z, x of the model have log p(x) of mean −entropy of N(0, WWᵀ + σ² I).
    covariance = W @ W.T + NOISE**2 * np.eye(3)
    entropy = 0.5 * np.log(np.linalg.det(2 * np.pi * np.e * covariance))
    error = 4 * np.std(lower) / np.sqrt(len(lower))
    assert lower.mean() - error < -entropy < upper.mean() + error


def test_the_schedule_goes_from_0_to_1():
    betas = np.asarray(schedule(10))
    assert betas.shape == (11,)
    assert betas[0] == 0
    np.testing.assert_allclose(betas[-1], 1.0, rtol=1e-6)
    assert (np.diff(betas) > 0).all()


def test_models_of_several_nodes_are_refused():
    model = linear_gaussian()

    def twice(params, batch, key):
        return model.encode(params, batch, key) * 2

    with pytest.raises(ValueError, match="one continuous node, this one has 2"):
        annealed(model._replace(encode=twice), model.init(KEY, BATCH), BATCH, KEY)
