"""Codes and ground-truth factors, checked and prepared for the metrics."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from vaejax.core.types import PyTree

__all__ = [
    "CodesAndFactors",
    "Score",
    "checked_inputs",
    "near_unique",
    "num_train_rows",
    "over_models",
    "split_rows",
]

Score = dict[str, jax.Array]
_BINS = "numpy.digitize(column, numpy.quantile(column, numpy.arange(1, 10) / 10))"


class CodesAndFactors(NamedTuple):
    """Codes and factors of the same examples.

    Attributes:
      codes: float32 `[..., N, D]`.
      classes: int32 `[N, K']` of the factors that vary, numbered from 0 without gaps.
      sizes: number of classes of each of those.
      varying: which of all K factors vary, bool `[K]`.
    """

    codes: jax.Array
    classes: np.ndarray
    sizes: tuple[int, ...]
    varying: np.ndarray

    def per_factor(self, values: jax.Array) -> jax.Array:
        """Scatters `[..., K']` to all factors `[..., K]`, with NaN for constant ones."""
        positions = np.flatnonzero(self.varying)
        result = jnp.full((*values.shape[:-1], len(self.varying)), jnp.nan, values.dtype)
        return result.at[..., positions].set(values)


def near_unique(size: int, examples: int) -> bool:
    """Whether a factor has so many classes that it must be a continuous quantity."""
    return size > 10 and 2 * size > examples


def checked_inputs(codes: ArrayLike, factors: ArrayLike) -> CodesAndFactors:
    """Checks codes `[..., N, D]` and the integer factors `[N, K]` of the same examples.

    Codes may be traced; factors may not, since the number of their classes determines shapes. A
    factor that is the same for all examples is left out.

    Raises:
      ValueError: other shapes or types than these, codes that are not finite, no factor that
        varies, or one with almost as many classes as examples.
    """
    if isinstance(factors, jax.core.Tracer):
        raise ValueError("factors must not be traced: close over them, and map over codes alone")
    if not isinstance(codes, jax.Array):
        codes = np.asarray(codes)
    table = np.asarray(factors)
    if codes.ndim < 2 or table.ndim != 2 or codes.shape[-2] != len(table):
        raise ValueError(
            f"expected codes [..., N, D] and factors [N, K] of the same N examples, found shapes "
            f"{codes.shape} and {table.shape}"
        )
    if not np.issubdtype(table.dtype, np.integer):
        raise ValueError(
            f"factors must be integer classes, found {table.dtype}: number the values of each, "
            "as with numpy.unique(column, return_inverse=True)[1], and a continuous one in "
            f"bins, as with {_BINS}"
        )
    if not isinstance(codes, jax.core.Tracer) and not np.isfinite(codes).all():
        raise ValueError("the codes hold NaN or infinite values")
    numbered = [np.unique(column, return_inverse=True) for column in table.T]
    sizes = np.array([len(values) for values, _ in numbered])
    for k, size in enumerate(sizes):
        if near_unique(size, len(table)):
            raise ValueError(
                f"factor {k} has {size} classes among {len(table)} examples: a continuous factor? "
                f"Put it into about 10 bins, as with {_BINS}"
            )
    varying = sizes > 1
    if not varying.any():
        raise ValueError(f"none of the {len(sizes)} factors varies among the {len(table)} examples")
    columns = [column for _, column in numbered]
    classes = np.stack(columns, axis=-1).astype(np.int32)[:, varying]
    varying_sizes = tuple(int(size) for size in sizes[varying])
    return CodesAndFactors(jnp.asarray(codes, jnp.float32), classes, varying_sizes, varying)


def over_models(metric: Callable[[jax.Array], Any], codes: jax.Array) -> PyTree:
    """`metric` of codes `[N, D]`, mapped over all leading axes; products in full precision."""
    for _ in range(codes.ndim - 2):
        metric = jax.vmap(metric)
    with jax.default_matmul_precision("highest"):
        return metric(codes)


def split_rows(inputs: CodesAndFactors, train: int | None) -> tuple[CodesAndFactors, int]:
    """The inputs of a predictor, and the number of rows that it is fitted to, see `num_train_rows`.

    A factor that varies in only one of the two parts can be neither learned nor tested, and counts
    as constant.

    Raises:
      ValueError: no factor varies in both parts, or as from `num_train_rows`.
    """
    rows = num_train_rows(inputs.classes, train)
    parts = inputs.classes[:rows], inputs.classes[rows:]
    kept = np.all([part.min(axis=0) < part.max(axis=0) for part in parts], axis=0)
    if not kept.any():
        raise ValueError(
            f"no factor varies among both the {rows} training rows and the {len(parts[1])} test "
            "rows: give more examples, or rows in random order"
        )
    varying = inputs.varying.copy()
    varying[np.flatnonzero(varying)[~kept]] = False
    sizes = tuple(size for size, keep in zip(inputs.sizes, kept, strict=True) if keep)
    return CodesAndFactors(inputs.codes, inputs.classes[:, kept], sizes, varying), rows


def num_train_rows(classes: np.ndarray, train: int | None) -> int:
    """The number of rows, the first ones, that a predictor is fitted to; the others test it.

    Args:
      classes: int32 `[N, K]`, numbered from 0.
      train: that number; None for two thirds of N, as the 10,000 and 5,000 of 1811.12359.

    Raises:
      ValueError: one of the two parts is empty, or most test rows have a class that does not occur
        in training, as in data that is sorted by a factor.
    """
    n = len(classes)
    rows = -(-2 * n // 3) if train is None else train
    if not 0 < rows < n:
        raise ValueError(f"train={train} of {n} rows leaves no row to train on, or none to test")
    for k, column in enumerate(classes.T):
        unseen = ~np.isin(column[rows:], column[:rows])
        if unseen.mean() > 0.5:
            raise ValueError(
                f"most test rows have a class of factor {k} that no training row has: are the "
                "rows sorted? Give them in random order"
            )
    return rows
