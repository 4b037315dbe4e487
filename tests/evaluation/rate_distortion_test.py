"""Annealed metrics of a split, on a linear Gaussian model with known rates and distortions."""

import dataclasses

import numpy as np
import pytest

from tests.evaluation.likelihood_test import BATCH, KEY, NOISE, W, X, exact, linear_gaussian, source
from vaejax import losses
from vaejax.core.game import Family
from vaejax.data.batches import eval_order
from vaejax.distributions import Uniform
from vaejax.evaluation import AnnealingOptions, EvaluateOptions, EvaluationContext
from vaejax.evaluation.rate_distortion import (
    Annealing,
    annealed_metrics,
    is_curve_point,
)

EXAMPLES = X[eval_order(10)[:7]]


def gaussian_point(mean, covariance, x):
    """Rate and distortion of N(mean [N, 2], covariance) against N(0, I) and p(x | z)."""
    squares = np.square(x - mean @ W.T).sum(axis=1) + np.trace(W @ covariance @ W.T)
    distortion = 0.5 * squares / NOISE**2 + 1.5 * np.log(2 * np.pi * NOISE**2)
    rate = np.trace(covariance) + np.square(mean).sum(axis=1) - 2
    return (rate - np.log(np.linalg.det(covariance))).mean() / 2, distortion.mean()


@pytest.fixture(scope="module")
def metrics():
    model = linear_gaussian()
    options = AnnealingOptions(temperatures=100, chains=256, examples=7)
    family = Family(model, losses.nll(), {})
    context = EvaluationContext(family, model.init(KEY, BATCH), source(10), batch_size=4)
    return annealed_metrics(context, options)


def test_means_count_each_example_once(metrics):
    assert metrics["annealed/log_likelihood"] == pytest.approx(exact(EXAMPLES).mean(), abs=0.05)
    assert abs(exact(EXAMPLES).mean() - exact().mean()) > 0.1
    assert abs(metrics["bdmc_gap"]) < 0.1
    assert 0.5 < metrics["annealed/accepted"] <= 1


def test_curve_and_the_point_of_the_encoder(metrics):
    betas = [n.removeprefix("rate/") for n in metrics if n.startswith("rate/")]
    betas = [b for b in betas if b != "q"]
    assert len(betas) == 16
    assert betas[-1] == "1"
    for beta in (betas[8], betas[-1]):
        s = np.linalg.inv(np.eye(2) + float(beta) * W.T @ W / NOISE**2)
        want = gaussian_point(float(beta) * EXAMPLES @ W @ s.T / NOISE**2, s, EXAMPLES)
        got = metrics[f"rate/{beta}"], metrics[f"distortion/{beta}"]
        np.testing.assert_allclose(got, want, atol=0.12)
    s = np.linalg.inv(np.eye(2) + W.T @ W / NOISE**2)
    encoder = gaussian_point(EXAMPLES @ W @ s.T / NOISE**2, np.diag(4 * np.diag(s)), EXAMPLES)
    np.testing.assert_allclose(metrics["rate/q"], encoder[0], rtol=1e-4)  # in closed form
    np.testing.assert_allclose(metrics["distortion/q"], encoder[1], rtol=0.15)
    assert encoder[0] + encoder[1] > -exact(EXAMPLES).mean() + 0.5  # q is not the posterior


def test_curve_points_are_recognised(metrics):
    points = [name for name in metrics if is_curve_point(name)]
    assert len(points) == 2 * 17
    assert not is_curve_point("annealed/log_likelihood")


def test_models_that_cannot_be_annealed_are_rejected():
    model = linear_gaussian()

    def reason(change, data=None):
        changed = model._replace(encode=lambda *args: change(model.encode(*args)))
        return Annealing().requires(Family(changed, losses.nll(), {}), data or source(10))

    assert reason(lambda nodes: nodes) is None
    assert "priors of this one are: Normal [2], Normal" in reason(lambda nodes: nodes * 2)
    uniform = Uniform(8, (10,))
    codes = reason(lambda nodes: (nodes[0]._replace(prior=uniform),))
    assert "one are: Uniform" in codes
    masked = dataclasses.replace(
        source(10),
        decode=lambda rows: {**rows, "hidden": rows["vector"], "condition": rows["vector"]},
    )
    assert "of whole events" in reason(lambda nodes: nodes, masked)
    with pytest.raises(ValueError, match=r"annealing\.chains must be at least 1, found 0"):
        EvaluateOptions(annealing=AnnealingOptions(chains=0))
