"""The Fréchet distance of two sets of features: how far generated examples lie from the data."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Moments(NamedTuple):
    """Of a set of features, float64.

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
        """The unbiased one, `[D, D]`."""
        return self.scatter / (self.size - 1)


def moments(parts: Iterable[ArrayLike]) -> Moments:
    """The moments of a set that comes in parts `[n, D]`, of which one is held at a time.

    The parts are joined about their own means (Chan, Golub and LeVeque 1983), so that no digits are
    lost where means are large.

    Raises:
      ValueError: there are no parts, or one has another shape or values that are not finite.
    """
    total: Moments | None = None
    for part in parts:
        x = np.asarray(part, np.float64)
        if x.ndim != 2 or not x.size or (total is not None and x.shape[1] != len(total.mean)):
            wanted = "[N, D]" if total is None else f"[N, {len(total.mean)}]"
            raise ValueError(f"expected features {wanted}, found {x.shape}")
        if not np.isfinite(x).all():
            raise ValueError(
                f"features of {int((~np.isfinite(x)).any(axis=1).sum())} examples of {len(x)} are "
                "not finite"
            )
        mean = x.mean(axis=0)
        own = Moments(len(x), mean, (x - mean).T @ (x - mean))
        if total is None:
            total = own
            continue
        count, gap = total.size + own.size, own.mean - total.mean
        share = total.size * own.size / count
        total = Moments(
            count,
            total.mean + gap * own.size / count,
            total.scatter + own.scatter + share * np.outer(gap, gap),
        )
    if total is None:
        raise ValueError("moments of no features")
    return total


def frechet_distance(a: Moments, b: Moments) -> float:
    """The squared 2-Wasserstein distance of the Gaussians with these moments.

    |μ_a − μ_b|² + tr(Σ_a + Σ_b − 2 (Σ_a^½ Σ_b Σ_a^½)^½) (Dowson and Landau 1982; of features of
    images the FID of 1706.08500, eq. 6). Both roots are of symmetric matrices, by their
    eigenvalues, so nothing complex comes up and singular covariances are no trouble. Of few
    examples it is too large: compare figures of equally many.

    Raises:
      ValueError: fewer than two examples, or different numbers of features.
    """
    if min(a.size, b.size) < 2:
        raise ValueError(
            f"the Fréchet distance needs at least two examples of each, found {a.size} and {b.size}"
        )
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"{len(a.mean)} features of one set, {len(b.mean)} of the other")
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    inner = np.linalg.eigvalsh(root @ b.covariance @ root)
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    spread = traces - 2 * np.sqrt(np.maximum(inner, 0.0)).sum()
    return float(np.square(a.mean - b.mean).sum() + max(spread, 0.0))
