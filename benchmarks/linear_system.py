"""A linear-Gaussian system, with exact filtering, prediction and likelihood by the Kalman filter.

z' = A z + N(0, Q), x = z + N(0, r²), z_0 ~ N(0, P₀), in two dimensions; all in float64.
"""

from typing import NamedTuple

import numpy as np

__all__ = [
    "OBSERVED",
    "P0",
    "A",
    "Filtered",
    "Q",
    "R",
    "kalman_filter",
    "log_normal",
    "log_predictive",
    "simulate",
    "transition",
]

_ANGLE, _DECAY, OBSERVED = 0.4, 0.95, 0.5
A = _DECAY * np.array([[np.cos(_ANGLE), -np.sin(_ANGLE)], [np.sin(_ANGLE), np.cos(_ANGLE)]])
Q = np.diag([0.3**2, 0.1**2])
R = OBSERVED**2 * np.eye(2)
P0 = np.eye(2)


class Filtered(NamedTuple):
    """p(z_t | x_1 … x_t) for each t: means `[N, T, 2]` and covariances `[T, 2, 2]`."""

    mean: np.ndarray
    covariance: np.ndarray


def simulate(n: int, length: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """States and observations, `[n, length, 2]` each."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2)) @ np.linalg.cholesky(P0).T
    states = []
    for _ in range(length):
        states.append(z)
        z = z @ A.T + rng.normal(size=(n, 2)) @ np.sqrt(Q)
    path = np.stack(states, axis=1)
    return path, path + OBSERVED * rng.normal(size=path.shape)


def transition(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """A^δ, and the covariance added by δ steps."""
    matrix, covariance = np.eye(2), np.zeros((2, 2))
    for _ in range(steps):
        matrix, covariance = A @ matrix, A @ covariance @ A.T + Q
    return matrix, covariance


def kalman_filter(x: np.ndarray) -> Filtered:
    """The filtering distributions of the states, given observations `[N, T, 2]`."""
    n, length, _ = x.shape
    mean, covariance, means, covariances = np.zeros((n, 2)), P0, [], []
    for t in range(length):
        if t:
            mean, covariance = mean @ A.T, A @ covariance @ A.T + Q
        gain = covariance @ np.linalg.inv(covariance + R)
        mean = mean + (x[:, t] - mean) @ gain.T
        covariance = covariance - gain @ covariance
        means.append(mean)
        covariances.append(covariance)
    return Filtered(np.stack(means, axis=1), np.stack(covariances))


def log_normal(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Log-density in nats over the last axis."""
    gap = x - mean
    scaled = np.einsum("...i,ij,...j->...", gap, np.linalg.inv(covariance), gap)
    return -0.5 * (scaled + np.log(np.linalg.det(2 * np.pi * covariance)))


def log_predictive(x: np.ndarray, filtered: Filtered, t: int, steps: int) -> np.ndarray:
    """log p(x_(t+δ) | x_1 … x_t) `[N]`, in nats."""
    matrix, added = transition(steps)
    covariance = matrix @ filtered.covariance[t] @ matrix.T + added + R
    return log_normal(x[:, t + steps], filtered.mean[:, t] @ matrix.T, covariance)
