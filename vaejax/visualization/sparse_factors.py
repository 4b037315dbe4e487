"""The figure of a sparse decoder's factors: the columns with the largest weights of each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vaejax.evaluation.sparse_factors import top_columns
from vaejax.visualization import plots

__all__ = ["draw_sparse_factors"]


def draw_sparse_factors(
    path: Path,
    weights: np.ndarray,
    names: Sequence[str] | None = None,
    *,
    count: int = 10,
    factors: int = 16,
) -> None:
    """One panel of bars for each factor: its columns with the largest weights, and these.

    Args:
      path: of the PNG; not written if all weights are zero.
      weights: W `[D, K]`.
      names: of the columns; None for their numbers.
      count: columns in a panel.
      factors: panels at most, those of the factors with the largest weights.
    """
    panels = []
    for factor in top_columns(weights, names, count)[:factors]:
        total = np.abs(weights[:, factor.factor]).sum()
        title = f"factor {factor.factor}, total {total:.1f}"
        panels.append((title, factor.columns, factor.weights))
    if panels:
        plots.bars(path, panels, rows=count, title="Columns with the largest weights per factor")
