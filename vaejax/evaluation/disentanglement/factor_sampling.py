"""Sampling examples that share the class of one factor, inside a compiled program."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

__all__ = ["FactorIndex", "index_by_factor", "sample_with_class"]


class FactorIndex(NamedTuple):
    """The rows of a table of factors, sorted by each of them.

    Attributes:
      classes: int32 `[N, K]`, of each example, numbered from 0 without gaps.
      order: int32 `[K, N]`, the examples sorted by factor k.
      start: int32 `[K, C]`, where in that order each class begins.
      sizes: int32 `[K, C]`, number of examples of each class; 0 past the last class of a factor.
    """

    classes: jax.Array
    order: jax.Array
    start: jax.Array
    sizes: jax.Array


def index_by_factor(factors: ArrayLike) -> FactorIndex:
    """The index of integer factor classes `[N, K]`.

    Raises:
      ValueError: there is no example, or no factor.
    """
    table = np.asarray(factors)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"expected factor classes [N, K], found shape {table.shape}")
    columns = [np.unique(column, return_inverse=True)[1] for column in table.T]
    max_classes = 1 + max(int(column.max()) for column in columns)
    sizes = np.stack([np.bincount(column, minlength=max_classes) for column in columns])
    arrays = (
        np.stack(columns, axis=-1),
        np.stack([np.argsort(column, kind="stable") for column in columns]),
        np.cumsum(sizes, axis=-1) - sizes,
        sizes,
    )
    return FactorIndex(*(jnp.asarray(a.astype(np.int32)) for a in arrays))


def sample_with_class(
    index: FactorIndex, key: jax.Array, factor: jax.Array, classes: jax.Array
) -> jax.Array:
    """Samples examples uniformly, with replacement, among those with a given class of a factor.

    Their other factors are distributed as in the table: uniform and independent if it holds every
    combination.

    Args:
      index: of the factors.
      key: of the samples.
      factor: k, int32, broadcast against `classes`.
      classes: of factor k, int32 `[...]`, one for each sample.

    Returns:
      Numbers of examples, int32 `[...]`.
    """
    offset = jax.random.randint(key, classes.shape, 0, index.sizes[factor, classes])
    return index.order[factor, index.start[factor, classes] + offset]
