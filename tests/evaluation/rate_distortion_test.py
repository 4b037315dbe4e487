"""Annealing of a split, on a linear Gaussian model whose rates and distortions are known."""

import numpy as np
import pytest

from tests.evaluation.likelihood_test import BATCH, KEY, NOISE, W, X, exact, linear_gaussian, source
from vaejax import losses
from vaejax.core.game import Family
from vaejax.data.batches import eval_order
from vaejax.distributions import Uniform
from vaejax.evaluation.rate_distortion import (
    annealed_figures,
    check_annealing,
    is_of_curve,
)
from vaejax.visualization.rate_distortion import draw_rate_distortion

SEEN = X[eval_order(10)[:7]]


def gaussian_point(mean, covariance, x):
    """Rate and distortion of N(mean [N, 2], covariance) against N(0, I) and p(x | z)."""
    gap = np.square(x - mean @ W.T).sum(axis=1) + np.trace(W @ covariance @ W.T)
    distortion = 0.5 * gap / NOISE**2 + 1.5 * np.log(2 * np.pi * NOISE**2)
    rate = np.trace(covariance) + np.square(mean).sum(axis=1) - 2
    return (rate - np.log(np.linalg.det(covariance))).mean() / 2, distortion.mean()


@pytest.fixture(scope="module")
def figures():
    model = linear_gaussian()
    settings = {"temperatures": 100, "chains": 32, "examples": 7, "batch_size": 4}
    family = Family(model, losses.nll(), {})
    return annealed_figures(family, model.init(KEY, BATCH), source(10), **settings)


def test_each_example_counts_once(figures):
    assert figures["annealed/log_likelihood"] == pytest.approx(exact(SEEN).mean(), abs=0.05)
    assert abs(exact(SEEN).mean() - exact().mean()) > 0.1
    assert abs(figures["annealed/gap"]) < 0.1
    assert 0.5 < figures["annealed/accepted"] <= 1


def test_the_curve_and_the_encoder_s_own_point(figures):
    betas = [n.removeprefix("rate/") for n in figures if n.startswith("rate/")]
    betas = [b for b in betas if b != "q"]
    assert len(betas) == 16
    assert betas[-1] == "1"
    for beta in (betas[8], betas[-1]):
        s = np.linalg.inv(np.eye(2) + float(beta) * W.T @ W / NOISE**2)
        want = gaussian_point(float(beta) * SEEN @ W @ s.T / NOISE**2, s, SEEN)
        got = figures[f"rate/{beta}"], figures[f"distortion/{beta}"]
        np.testing.assert_allclose(got, want, atol=0.12)
    s = np.linalg.inv(np.eye(2) + W.T @ W / NOISE**2)
    own = gaussian_point(SEEN @ W @ s.T / NOISE**2, np.diag(4 * np.diag(s)), SEEN)
    np.testing.assert_allclose(figures["rate/q"], own[0], rtol=1e-4)  # in closed form
    np.testing.assert_allclose(figures["distortion/q"], own[1], rtol=0.15)
    assert own[0] + own[1] > -exact(SEEN).mean() + 0.5  # so that q is told from the posterior


def test_the_picture(figures, tmp_path):
    assert draw_rate_distortion(tmp_path / "curve.png", figures)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    rest = {k: v for k, v in figures.items() if not is_of_curve(k)}
    assert not draw_rate_distortion(tmp_path / "none.png", rest)
    assert not (tmp_path / "none.png").exists()


def test_what_cannot_be_annealed():
    model = linear_gaussian()
    nodes = model.encode(model.init(KEY, BATCH), BATCH, KEY)
    check_annealing(nodes, BATCH)
    with pytest.raises(ValueError, match=r"the priors of this one are: Normal \[2\], Normal"):
        check_annealing(nodes * 2, BATCH)
    with pytest.raises(ValueError, match=r"one are: Uniform"):
        check_annealing((nodes[0]._replace(prior=Uniform(8, (10,))),), BATCH)
    with pytest.raises(ValueError, match="of whole events"):
        check_annealing(nodes, {**BATCH, "mask": BATCH["vector"]})
    with pytest.raises(ValueError, match=r"annealing\.chains must be at least 1, found 0"):
        annealed_figures(Family(model, losses.nll(), {}), {}, source(10), temperatures=9, chains=0)
