"""Fréchet distances of sets with the exact moments of known Gaussians."""

import numpy as np
import pytest
import scipy.linalg

from vaejax.evaluation.generation.frechet import frechet_distance, moments


def with_moments(mean, covariance, n=200, seed=0):
    """Features `[n, D]` with this mean and unbiased covariance, up to rounding."""
    x = np.random.RandomState(seed).randn(n, len(mean))
    x = x - x.mean(axis=0)
    white = np.linalg.solve(np.linalg.cholesky(np.cov(x.T)), x.T).T
    return white @ np.linalg.cholesky(covariance).T + mean


def covariance(seed, dim=4):
    a = np.random.RandomState(seed).randn(dim, dim)
    return a @ a.T + 0.1 * np.eye(dim)


def test_commuting_covariances():
    """(√a − √b)² of each axis, and the distance of the means."""
    a, b = np.array([4.0, 1.0, 0.25]), np.array([1.0, 9.0, 0.25])
    x, y = (
        with_moments(np.zeros(3), np.diag(a)),
        with_moments(np.array([1.0, 2.0, 2.0]), np.diag(b), 70, 1),
    )
    distance = frechet_distance(moments([x]), moments([y]))
    assert distance == pytest.approx(9.0 + (1 + 4 + 0), rel=1e-9)


def test_general_covariances_by_the_root_of_their_product():
    """As in 1706.08500: tr (Σ_a Σ_b)^½, the root of a non-symmetric matrix."""
    a, b, mean = covariance(0), covariance(1), np.array([3.0, 0.0, -1.0, 0.5])
    want = np.square(mean).sum() + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    first, second = moments([with_moments(mean, a)]), moments([with_moments(np.zeros(4), b, 90, 1)])
    assert frechet_distance(first, second) == pytest.approx(want, rel=1e-8)
    assert frechet_distance(second, first) == pytest.approx(want, rel=1e-8)


def test_fewer_examples_than_features():
    x = np.random.RandomState(0).randn(5, 30)
    assert frechet_distance(moments([x]), moments([x])) == pytest.approx(0.0, abs=1e-5)
    assert frechet_distance(moments([x]), moments([x + 2.0])) == pytest.approx(120.0, rel=1e-6)
    # Points on a line: Σ of rank 1, and the distance is that in one dimension.
    line = np.random.RandomState(1).randn(6, 1) * np.ones((1, 3)) / np.sqrt(3)
    distance = frechet_distance(moments([line]), moments([3 * line]))
    x = line @ np.ones(3) / np.sqrt(3)
    assert distance == pytest.approx(4 * x.var(ddof=1) + 4 * x.mean() ** 2, rel=1e-6)


def test_moments_do_not_depend_on_the_parts_for_large_means():
    x = np.random.RandomState(0).randn(1000, 3) + 1e6
    single, parts = moments([x]), moments([x[:1], x[1:400], x[400:]])
    assert (single.size, parts.size) == (1000, 1000)
    np.testing.assert_allclose(parts.mean, x.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(parts.covariance, np.cov(x.T), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(single.covariance, np.cov(x.T), rtol=1e-7, atol=1e-9)


def test_invalid_features_are_reported():
    good = moments([np.eye(3)])
    with pytest.raises(ValueError, match="at least two examples of each, found 3 and 1"):
        frechet_distance(good, moments([np.zeros((1, 3))]))
    with pytest.raises(ValueError, match="different numbers of features, 3 and 2"):
        frechet_distance(good, moments([np.zeros((5, 2))]))
    with pytest.raises(ValueError, match="of 1 examples of 4 are not finite"):
        moments([[[0.0], [np.nan], [1.0], [2.0]]])
    with pytest.raises(ValueError, match=r"expected features \[N, 3\], found \(2, 4\)"):
        moments([np.eye(3), np.zeros((2, 4))])
    with pytest.raises(ValueError, match=r"expected features \[N, D\], found \(3,\)"):
        moments([np.zeros(3)])
    with pytest.raises(ValueError, match="no features"):
        moments([])
