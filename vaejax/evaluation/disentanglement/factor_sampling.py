"""Examples by factor: those that share a class of one factor, drawn inside a compiled program."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike


class ByFactors(NamedTuple):
    """The rows of a table of factors, sorted by each of them.

    Attributes:
      classes: int32 `[N, K]`, of each example, numbered from 0 without gaps.
      order: int32 `[K, N]`, the examples sorted by factor k.
      start: int32 `[K, C]`, where in that order each class begins.
      amount: int32 `[K, C]`, examples of each class; 0 past the last class of a factor.
    """

    classes: jax.Array
    order: jax.Array
    start: jax.Array
    amount: jax.Array


def by_factors(factors: ArrayLike) -> ByFactors:
    """Sorts the examples whose factor classes, integers `[N, K]`, these are.

    Raises:
      ValueError: there is no example, or no factor.
    """
    table = np.asarray(factors)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"expected factor classes [N, K], found shape {table.shape}")
    columns = [np.unique(column, return_inverse=True)[1] for column in table.T]
    most = 1 + max(int(column.max()) for column in columns)
    count = np.stack([np.bincount(column, minlength=most) for column in columns])
    arrays = (
        np.stack(columns, axis=-1),
        np.stack([np.argsort(column, kind="stable") for column in columns]),
        np.cumsum(count, axis=-1) - count,
        count,
    )
    return ByFactors(*(jnp.asarray(a.astype(np.int32)) for a in arrays))


def draw_alike(
    examples: ByFactors, key: jax.Array, factor: jax.Array, classes: jax.Array
) -> jax.Array:
    """Examples drawn uniformly, with replacement, from those that have a class of a factor.

    What their other factors are follows the table: where that holds every combination, they are
    uniform and independent.

    Args:
      examples: sorted by factor.
      key: of the draws.
      factor: k, int32 `[]`.
      classes: of factor k, int32 `[...]`, one for each draw.

    Returns:
      Indices int32 `[...]`.
    """
    place = jax.random.randint(key, classes.shape, 0, examples.amount[factor, classes])
    return examples.order[factor, examples.start[factor, classes] + place]
