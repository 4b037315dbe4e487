"""The values that a likelihood can explain, declared by its class and checked before training."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

__all__ = ["COUNTS", "REAL", "UNIT_INTERVAL", "Support", "classes", "grid", "support_of"]

_MAX_COUNT = 1e9  # up to which the negative binomial is exact in float32
_GRID_TOLERANCE = 1e-3  # of a step, for the rounding of float32


class Support(NamedTuple):
    """Declared by a distribution as its attribute `support`; without it nothing is checked.

    Attributes:
      values: what the support is, for errors, as in "counts 0, 1, 2, ...".
      contains: events -> bool of the same shape: which elements are in the support.
      remedy: what to do about data outside of it, for errors.
      real: whether the support is the whole real line, so that data may be shifted and scaled.
    """

    values: str
    contains: Callable[[np.ndarray], np.ndarray]
    remedy: str
    real: bool = False


def _counts(x: np.ndarray) -> np.ndarray:
    contained: np.ndarray = (x >= 0) & (x <= _MAX_COUNT) & (x == np.floor(x))
    return contained


REAL = Support("real numbers", np.isfinite, "remove NaN and Inf", real=True)
UNIT_INTERVAL = Support(
    "values in [0, 1]",
    lambda x: (x >= 0) & (x <= 1),
    "use the likelihood 'normal', or rescale the data to [0, 1]",
)
COUNTS = Support(
    f"counts 0, 1, 2, ... up to {_MAX_COUNT:g}",
    _counts,
    "use the likelihood 'normal', or give the counts before any normalisation or logarithm",
)


def grid(levels: int) -> Support:
    """The values 0, 1/(K−1), ..., 1, where K is `levels`."""

    def contains(x: np.ndarray) -> np.ndarray:
        steps = np.asarray(x, np.float64) * (levels - 1)
        on_grid = np.abs(steps - np.round(steps)) <= _GRID_TOLERANCE
        return on_grid & (x >= 0) & (x <= 1)

    return Support(
        f"{levels} equally spaced levels from 0 to 1",
        contains,
        "use the likelihood 'normal', give uint8 images, or set the likelihood's 'levels' to the "
        "number of levels of the data",
    )


def classes(count: int) -> Support:
    """The classes 0 … `count` − 1."""
    return Support(
        f"classes 0 to {count - 1}",
        lambda x: (x >= 0) & (x < count) & (x == np.floor(x)),
        "leave out the likelihood's 'classes' to use the number of the data, or raise it",
    )


def support_of(distribution: Any) -> Support | None:
    """The declared support of a distribution, of its base if it is a mask or a transformation."""
    declared = getattr(distribution, "support", None)
    if declared is None and hasattr(distribution, "base"):
        return support_of(distribution.base)
    return declared if isinstance(declared, Support) else None
