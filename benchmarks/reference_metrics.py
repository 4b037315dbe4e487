"""Metrics written the straightforward way with NumPy, SciPy and scikit-learn, to compare with.

The algorithms are those of the published evaluations: a loop over votes or pairs of columns,
scikit-learn's mutual information and logistic regression, SciPy's matrix square root. Nothing here
uses the library.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import scipy.linalg
import sklearn.linear_model
import sklearn.metrics

__all__ = [
    "annealed_log_likelihood",
    "beta_vae_score",
    "factor_vae_score",
    "frechet_distance",
    "mutual_information_gap",
]

Layers = Sequence[tuple[np.ndarray, np.ndarray]]  # (kernel, bias) of each


def mutual_information_gap(codes: np.ndarray, factors: np.ndarray, bins: int = 20) -> float:
    """MIG (1802.04942) of codes `[N, D]` in equal bins and classes `[N, K]`."""
    binned = np.empty(codes.shape, np.int64)
    for d, column in enumerate(codes.T):
        edges = np.linspace(column.min(), column.max(), bins + 1, dtype=column.dtype)[1:-1]
        binned[:, d] = np.digitize(column, edges)
    gaps = []
    for y in factors.T:
        information = [sklearn.metrics.mutual_info_score(z, y) for z in binned.T]
        first, second = sorted(information, reverse=True)[:2]
        gaps.append((first - second) / sklearn.metrics.mutual_info_score(y, y))
    return float(np.mean(gaps))


def _rows_by_class(factors: np.ndarray) -> list[list[np.ndarray]]:
    return [[np.flatnonzero(y == c) for c in range(y.max() + 1)] for y in factors.T]


def factor_vae_score(
    codes: np.ndarray, factors: np.ndarray, votes: tuple[int, int] = (10_000, 5_000), n: int = 64
) -> float:
    """The FactorVAE score (1802.05983) by one majority vote after the other.

    Args:
      codes: `[N, D]`.
      factors: classes `[N, K]`.
      votes: to fit the classifier, and to test it.
      n: examples of a vote.
    """
    random, rows = np.random.RandomState(0), _rows_by_class(factors)
    variance = codes.var(axis=0, ddof=1)
    kept = np.flatnonzero(np.sqrt(variance) >= 0.05)
    counts = np.zeros((2, codes.shape[1], factors.shape[1]), np.int64)
    for part, number in enumerate(votes):
        for _ in range(number):
            k = random.randint(factors.shape[1])
            same = rows[k][factors[random.randint(len(factors)), k]]
            chosen = codes[random.choice(same, n)][:, kept]
            winner = kept[np.argmin(chosen.var(axis=0, ddof=1) / variance[kept])]
            counts[part, winner, k] += 1
    majority = counts[0].argmax(axis=1)
    return float(counts[1][np.arange(len(majority)), majority].sum() / votes[1])


def beta_vae_score(
    codes: np.ndarray, factors: np.ndarray, points: tuple[int, int] = (10_000, 5_000), n: int = 64
) -> float:
    """The β-VAE score (Higgins et al. 2017), by one point after the other.

    Args:
      codes: `[N, D]`.
      factors: classes `[N, K]`.
      points: to fit the logistic regression, and to test it.
      n: pairs of a point.
    """
    random, rows = np.random.RandomState(0), _rows_by_class(factors)
    x, y = np.empty((sum(points), codes.shape[1])), np.empty(sum(points), np.int64)
    for i in range(sum(points)):
        y[i] = k = random.randint(factors.shape[1])
        first = random.randint(len(codes), size=n)
        same = [rows[k][c] for c in factors[first, k]]
        second = [r[random.randint(len(r))] for r in same]
        x[i] = np.abs(codes[first] - codes[second]).mean(axis=0)
    model = sklearn.linear_model.LogisticRegression().fit(x[: points[0]], y[: points[0]])
    return float(model.score(x[points[0] :], y[points[0] :]))


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The Fréchet distance (1706.08500) of two sets of features `[N, D]`: root of Σ_a Σ_b."""
    covariances = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    shift = a.mean(axis=0) - b.mean(axis=0)
    traces = np.trace(covariances[0]) + np.trace(covariances[1])
    return float(shift @ shift + traces - 2 * np.trace(root).real)


def _decoder(layers: Layers, x: np.ndarray) -> Callable[[np.ndarray], tuple[np.ndarray, ...]]:
    """z `[B, D]` -> log p(x | z) `[B]` and its gradient `[B, D]`; tanh between the layers."""

    def value_and_gradient(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hidden = [z]
        for kernel, bias in layers[:-1]:
            hidden.append(np.tanh(hidden[-1] @ kernel + bias))
        logits = hidden[-1] @ layers[-1][0] + layers[-1][1]
        gradient = (x - 1 / (1 + np.exp(-logits))) @ layers[-1][0].T
        for (kernel, _), h in zip(layers[-2::-1], hidden[:0:-1], strict=True):
            gradient = (gradient * (1 - h**2)) @ kernel.T
        return (x * logits - np.logaddexp(0, logits)).sum(axis=1), gradient

    return value_and_gradient


def annealed_log_likelihood(
    decoder: Mapping[str, Mapping[str, np.ndarray]],
    x: np.ndarray,
    betas: np.ndarray,
    *,
    chains: int,
    leapfrog: int = 10,
) -> np.ndarray:
    """log p(x) `[B]` by annealed importance sampling (1611.04273), one chain after the other.

    Args:
      decoder: layers `Dense_0`, ... with `kernel` and `bias`; the last returns logits of pixels.
      x: binary images `[B, N]`.
      betas: temperatures from 0 to 1.
      chains: of each image.
      leapfrog: steps of a transition.
    """
    dense = [decoder[f"Dense_{i}"] for i in range(len(decoder))]
    layers = [tuple(np.asarray(d[k], np.float64) for k in ("kernel", "bias")) for d in dense]
    likelihood, random = _decoder(layers, x), np.random.RandomState(0)  # type: ignore[arg-type]
    shape, weights = (len(x), len(layers[0][0])), []
    for _ in range(chains):
        z, size, weight = random.standard_normal(shape), np.full(len(x), 0.1), np.zeros(len(x))
        value, gradient = likelihood(z)
        for before, beta in itertools.pairwise(betas):
            weight += (beta - before) * value
            step = (size * random.uniform(0.6, 1.0, len(x)))[:, None]
            momentum = random.standard_normal(shape)
            new, p, new_gradient = z, momentum, gradient
            for _ in range(leapfrog):
                p = p + 0.5 * step * (beta * new_gradient - new)
                new = new + step * p
                new_value, new_gradient = likelihood(new)
                p = p + 0.5 * step * (beta * new_gradient - new)
            energy = 0.5 * (z**2 + momentum**2).sum(axis=1) - beta * value
            new_energy = 0.5 * (new**2 + p**2).sum(axis=1) - beta * new_value
            accepted = np.log(random.uniform(size=len(x))) < energy - new_energy
            z = np.where(accepted[:, None], new, z)
            value = np.where(accepted, new_value, value)
            gradient = np.where(accepted[:, None], new_gradient, gradient)
            size = np.clip(size * np.where(accepted, 1.02**0.35, 1.02**-0.65), 1e-4, 2.0)
        weights.append(weight)
    largest = np.max(weights, axis=0)
    return largest + np.log(np.mean(np.exp(np.array(weights) - largest), axis=0))
