"""The order of evaluations by one of their metrics."""

import math
from typing import NamedTuple

import numpy as np

from vaejax.core.types import Options

__all__ = ["ELBO", "Ranking", "ranking"]

_HIGHER = ("accuracy", "active_units", "codes_used", "elbo", "log_likelihood")
_LOWER = ("bits_per_dim", "kl", "mse", "nll", "nll_optimal")


class Ranking(NamedTuple):
    """The metric by which evaluations are ranked.

    Attributes:
      metric: its name.
      maximize: whether higher values are better.
    """

    metric: str = "elbo"
    maximize: bool = True

    def score(self, metrics: Options) -> float:
        """The metric with the sign by which higher is better; −inf if it is unknown or NaN."""
        value = metrics.get(self.metric)
        if not isinstance(value, int | float) or not math.isfinite(value):
            return -math.inf
        return float(value) if self.maximize else -float(value)

    def scores(self, metrics: Options) -> np.ndarray | None:
        """The same of each model of a sweep, float32 `[N]`, or of one, `[]`; None without it."""
        if self.metric not in metrics:
            return None
        values = np.asarray(metrics[self.metric], np.float32)
        return values if self.maximize else -values


ELBO = Ranking()


def ranking(metric: str, direction: str) -> Ranking:
    """The ranking that `train.best_metric` and `train.best_direction` describe.

    Args:
      metric: name of a metric.
      direction: `'max'`, `'min'`, or `'auto'` for the direction of a metric that has one.

    Raises:
      ValueError: the direction is unclear.
    """
    if direction == "auto":
        if metric not in (*_HIGHER, *_LOWER):
            raise ValueError(
                f"train.best_metric={metric}: is a higher value better? Set train.best_direction "
                "to max or min"
            )
        direction = "max" if metric in _HIGHER else "min"
    return Ranking(metric, direction == "max")
