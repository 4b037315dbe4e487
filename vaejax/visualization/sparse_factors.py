"""What the factors of a sparse decoder are: the columns that use each of them most."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vaejax.core.game import Params
from vaejax.distributions.spike_and_slab_lasso import WEIGHTS
from vaejax.visualization.plots import grids_and_curves


class Factor(NamedTuple):
    """A factor, its heaviest columns, and their weights, in order of their size."""

    factor: int
    columns: tuple[str, ...]
    weights: np.ndarray


def weights_of(params: Params) -> np.ndarray | None:
    """W `[D, K]` of the group `selector` of a sparse decoder, or None if there is none."""
    selector = params.get("selector")
    if not isinstance(selector, Mapping) or WEIGHTS not in selector:
        return None
    return np.asarray(selector[WEIGHTS])


def top_columns(
    weights: np.ndarray, names: Sequence[str] | None = None, count: int = 10
) -> list[Factor]:
    """The columns that use each factor most; factors by the sum of their weights' sizes.

    Args:
      weights: W `[D, K]`.
      names: of the columns; None for their numbers.
      count: columns at most of each factor; those of weight zero, and factors without any other,
        are left out.
    """
    size = np.abs(weights)
    found = []
    for k in np.argsort(-size.sum(axis=0), kind="stable"):
        order = np.argsort(-size[:, k], kind="stable")[:count]
        order = order[size[order, k] > 0]
        if len(order):
            labels = tuple(names[j] if names is not None else f"column {j}" for j in order)
            found.append(Factor(int(k), labels, weights[order, k]))
    return found


def draw_factors(
    path: Path,
    weights: np.ndarray,
    names: Sequence[str] | None = None,
    *,
    count: int = 10,
    factors: int = 16,
) -> None:
    """One panel of bars for each factor: its heaviest columns and their weights.

    Args:
      path: of the PNG.
      weights: W `[D, K]`.
      names: of the columns; None for their numbers.
      count: columns in a panel.
      factors: panels at most, those of the heaviest factors.
    """
    panels = []
    for factor in top_columns(weights, names, count)[:factors]:
        total = np.abs(weights[:, factor.factor]).sum()
        title = f"factor {factor.factor}, {total:.1f} in all"
        panels.append((title, factor.columns, factor.weights))
    if panels:
        title = "Columns that use each factor most, by their weight"
        grids_and_curves.bars(path, panels, rows=count, title=title)
