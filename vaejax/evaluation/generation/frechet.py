"""The Fréchet distance between the features of generated examples and of data."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["Moments", "frechet_distance", "moments"]


class Moments(NamedTuple):
    """The first two moments of a set of features, float64.

    Attributes:
      size: N.
      mean: `[D]`.
      scatter: sum over the set of outer products of deviations from the mean, `[D, D]`.
    """

    size: int
    mean: np.ndarray
    scatter: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """The unbiased covariance, `[D, D]`."""
        return self.scatter / (self.size - 1)


def moments(parts: Iterable[ArrayLike]) -> Moments:
    """The moments of a set that is given in parts `[n, D]`, with one part in memory at a time.

    The parts are combined about their own means (Chan, Golub and LeVeque 1983), which is accurate
    also for large means.

    Raises:
      ValueError: there are no parts, or one has another shape or values that are not finite.
    """
    total: Moments | None = None
    for part in parts:
        x = np.asarray(part, np.float64)
        if x.ndim != 2 or not x.size or (total is not None and x.shape[1] != len(total.mean)):
            expected = "[N, D]" if total is None else f"[N, {len(total.mean)}]"
            raise ValueError(f"expected features {expected}, found {x.shape}")
        if not np.isfinite(x).all():
            raise ValueError(
                f"features of {int((~np.isfinite(x)).any(axis=1).sum())} examples of {len(x)} are "
                "not finite"
            )
        mean = x.mean(axis=0)
        scatter = (x - mean).T @ (x - mean)
        if total is None:
            total = Moments(len(x), mean, scatter)
            continue
        size, shift = total.size + len(x), mean - total.mean
        weight = total.size * len(x) / size
        total = Moments(
            size,
            total.mean + shift * len(x) / size,
            total.scatter + scatter + weight * np.outer(shift, shift),
        )
    if total is None:
        raise ValueError("there are no features to compute moments of")
    return total


def frechet_distance(a: Moments, b: Moments) -> float:
    """The squared 2-Wasserstein distance of the Gaussians with these moments.

    |μ_a − μ_b|² + tr(Σ_a + Σ_b − 2 (Σ_a^½ Σ_b Σ_a^½)^½) (Dowson and Landau 1982; for features of
    images the FID of 1706.08500, eq. 6). Both roots are of symmetric matrices, from eigenvalues, so
    the result is real and covariances may be singular. The estimate is biased upwards for few
    examples: compare values for equal numbers of examples.

    Raises:
      ValueError: fewer than two examples, or different numbers of features.
    """
    if min(a.size, b.size) < 2:
        raise ValueError(
            f"the Fréchet distance needs at least two examples of each, found {a.size} and {b.size}"
        )
    if a.mean.shape != b.mean.shape:
        raise ValueError(
            f"the sets have different numbers of features, {len(a.mean)} and {len(b.mean)}"
        )
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ b.covariance @ root)
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    covariance_term = traces - 2 * np.sqrt(np.maximum(product, 0.0)).sum()
    return float(np.square(a.mean - b.mean).sum() + max(covariance_term, 0.0))
