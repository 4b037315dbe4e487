"""The factors of a sparse decoder: the columns of the data with the largest weights."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vaejax.core.game import Params
from vaejax.distributions.spike_and_slab_lasso import WEIGHTS

__all__ = ["FactorColumns", "selector_weights", "top_columns"]


class FactorColumns(NamedTuple):
    """The columns with the largest weights of a factor, in order of absolute weight."""

    factor: int
    columns: tuple[str, ...]
    weights: np.ndarray


def selector_weights(params: Params) -> np.ndarray | None:
    """W `[D, K]` of the group `selector` of a sparse decoder, or None for other models."""
    selector = params.get("selector")
    if not isinstance(selector, Mapping) or WEIGHTS not in selector:
        return None
    return np.asarray(selector[WEIGHTS])


def top_columns(
    weights: np.ndarray, names: Sequence[str] | None = None, count: int = 10
) -> list[FactorColumns]:
    """The columns with the largest weights of each factor, factors by their total absolute weight.

    Args:
      weights: W `[D, K]`.
      names: of the columns; None for their numbers.
      count: columns at most of each factor; columns of weight zero, and factors that have no other,
        are left out.
    """
    size = np.abs(weights)
    result = []
    for k in np.argsort(-size.sum(axis=0), kind="stable"):
        order = np.argsort(-size[:, k], kind="stable")[:count]
        order = order[size[order, k] > 0]
        if len(order):
            labels = tuple(names[j] if names is not None else f"column {j}" for j in order)
            result.append(FactorColumns(int(k), labels, weights[order, k]))
    return result
