"""What the metrics are given: codes beside the factors that made the data."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

Score = dict[str, jax.Array]


class Judged(NamedTuple):
    """Codes and factors that fit together.

    Attributes:
      codes: float32 `[..., N, D]`.
      classes: int32 `[N, K']` of the factors that vary, numbered from 0 without gaps.
      sizes: classes of each of those.
      varying: which of all K factors they are.
    """

    codes: jax.Array
    classes: np.ndarray
    sizes: tuple[int, ...]
    varying: np.ndarray

    def per_factor(self, values: jax.Array) -> jax.Array:
        """Numbers `[..., K']` at their places among all factors `[..., K]`, NaN at the constant."""
        places = np.flatnonzero(self.varying)
        whole = jnp.full((*values.shape[:-1], len(self.varying)), jnp.nan, values.dtype)
        return whole.at[..., places].set(values)


def judged(codes: ArrayLike, factors: ArrayLike) -> Judged:
    """Checks codes `[..., N, D]` and the integer factors `[N, K]` of the same examples.

    Codes may be traced; factors may not, since how many classes they have decides shapes. A
    factor that is the same for all examples says nothing of the codes and is left out.

    Raises:
      ValueError: other shapes or types than these, codes that are not finite, or no factor that
        varies.
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
            "as with numpy.unique(column, return_inverse=True)[1]"
        )
    if not isinstance(codes, jax.core.Tracer) and not np.isfinite(codes).all():
        raise ValueError("the codes hold NaN or infinite values")
    numbered = [np.unique(column, return_inverse=True) for column in table.T]
    sizes = np.array([len(values) for values, _ in numbered])
    varying = sizes > 1
    if not varying.any():
        raise ValueError(f"none of the {len(sizes)} factors varies among the {len(table)} examples")
    columns = [column for _, column in numbered]
    classes = np.stack(columns, axis=-1).astype(np.int32)[:, varying]
    kept = tuple(int(size) for size in sizes[varying])
    return Judged(jnp.asarray(codes, jnp.float32), classes, kept, varying)


def over_models(metric: Callable[[jax.Array], Any], codes: jax.Array) -> Any:
    """`metric` of codes `[N, D]`, mapped over all axes before those; products in full precision."""
    for _ in range(codes.ndim - 2):
        metric = jax.vmap(metric)
    with jax.default_matmul_precision("highest"):
        return metric(codes)


def rows_to_learn_from(classes: np.ndarray, train: int | None) -> int:
    """How many rows, the first, a predictor is fitted to; the others test it.

    Args:
      classes: int32 `[N, K]`, numbered from 0.
      train: that number; None for two thirds of N, as the 10,000 and 5,000 of 1811.12359.

    Raises:
      ValueError: one of the two parts is empty, or most of the classes of one are not in the
        other, as in data that is sorted by a factor.
    """
    n = len(classes)
    rows = -(-2 * n // 3) if train is None else train
    if not 0 < rows < n:
        raise ValueError(f"train={train} of {n} rows leaves none to learn from, or none to test")
    for k, column in enumerate(classes.T):
        unseen = ~np.isin(column[rows:], column[:rows])
        if unseen.mean() > 0.5:
            raise ValueError(
                f"most test rows have a class of factor {k} that no training row has: are the "
                "rows sorted? Give them in random order"
            )
    return rows
