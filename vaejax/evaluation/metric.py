"""Registered metrics, which a config selects by name in `evaluate.metrics`."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
from jax.sharding import Mesh

from vaejax.core.game import Family, Params
from vaejax.core.registry import near_names, registered
from vaejax.data import Source

__all__ = ["EvaluationContext", "Metric", "compute_metrics", "metrics_named"]


class EvaluationContext(NamedTuple):
    """The inputs of a metric.

    Attributes:
      family: whose model.
      params: its parameters, on the devices of the mesh.
      source: the split that is evaluated.
      mesh: the devices.
      step: number of training steps of the parameters.
      batch_size: examples at once.
      seed: of all random keys.
      binarize: of images, as in training, see `data.preprocess.preparation`.
    """

    family: Family
    params: Params
    source: Source
    mesh: Mesh
    step: int
    batch_size: int
    seed: int
    binarize: str


class Metric(Protocol):
    """A class without constructor arguments, registered with `vaejax.register("metric", name)`."""

    def requires(self, family: Family, source: Source) -> str | None:
        """Why the metric does not apply to this family or data, in a few words; else None.

        Called before training.
        """

    def compute(self, context: EvaluationContext) -> Mapping[str, float]:
        """Named numbers of the whole split, called once after training."""


def metrics_named(names: str, family: Family, source: Source) -> list[Metric]:
    """The metrics of a comma-separated list, each checked against the family and the data.

    Raises:
      ValueError: a name is unknown, or a metric does not apply to the family or data.
    """
    metrics = []
    for name in filter(None, (name.strip() for name in names.split(","))):
        classes = registered("metric")
        if name not in classes:
            raise ValueError(f"evaluate.metrics: unknown metric {near_names(name, classes)}")
        metric: Metric = classes[name]()
        reason = metric.requires(family, source)
        if reason:
            raise ValueError(f"evaluate.metrics: {name!r} does not apply here: {reason}")
        metrics.append(metric)
    return metrics


def compute_metrics(names: str, context: EvaluationContext) -> dict[str, float]:
    """The values of the metrics in a comma-separated list.

    Raises:
      ValueError: as from `metrics_named`, or two metrics return the same name.
    """
    result: dict[str, float] = {}
    for metric in metrics_named(names, context.family, context.source):
        values = {name: float(np.asarray(v)) for name, v in metric.compute(context).items()}
        duplicates = sorted(result.keys() & values.keys())
        if duplicates:
            raise ValueError(f"two of evaluate.metrics={names!r} return {duplicates}")
        result |= values
    return result
