"""Metrics by name: those of the library and registered ones, which configs choose alike."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from vaejax.core.game import Family
from vaejax.core.registry import near_names, registered
from vaejax.data import Source
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.options import EvaluateOptions
from vaejax.evaluation.rate_distortion import is_curve_point

__all__ = [
    "Metric",
    "check_metrics",
    "compute_metrics",
    "in_summary",
    "metrics_named",
    "selected_names",
]

# Computed for every model that they apply to.
_ALWAYS = ("class_elbo", "prediction_errors")


class Metric(Protocol):
    """A class without constructor arguments, registered with `vaejax.register("metric", name)`."""

    def requires(self, family: Family, source: Source) -> str | None:
        """Why the metric does not apply to this family or data, in a few words; else None.

        Called before training.
        """

    def compute(self, context: EvaluationContext) -> Mapping[str, float]:
        """Named numbers of the whole split, called once after training."""


def _metric(name: str) -> Metric:
    classes = registered("metric")
    if name not in classes:
        raise ValueError(f"evaluate.metrics: unknown metric {near_names(name, classes)}")
    metric: Metric = classes[name]()
    return metric


def selected_names(options: EvaluateOptions) -> dict[str, str]:
    """The metrics that a config asks for: name -> the field that asks."""
    fields = {
        "likelihood": ("importance_samples", options.importance_samples),
        "mutual_information": ("mutual_information_samples", options.mutual_information_samples),
        "annealing": ("annealing.temperatures", options.annealing.temperatures),
        "sample_quality": ("num_generated", options.num_generated),
        "disentanglement": ("disentanglement", options.disentanglement),
    }
    chosen = {name: f"evaluate.{field}" for name, (field, value) in fields.items() if value}
    listed = [name.strip() for name in options.metrics.split(",") if name.strip()]
    return chosen | {name: f"evaluate.metrics={name}" for name in listed if name not in chosen}


def metrics_named(names: Mapping[str, str], family: Family, source: Source) -> dict[str, Metric]:
    """The metrics of these names, each checked against the family and the data.

    Args:
      names: name -> the setting that asks for it, for errors.
      family: whose model.
      source: the split.

    Raises:
      ValueError: a name is unknown, or a metric does not apply to the family or data.
      ImportError: a package that a metric uses is missing.
    """
    metrics = {name: _metric(name) for name in names}
    for name, metric in metrics.items():
        if reason := metric.requires(family, source):
            raise ValueError(f"{names[name]} does not apply here: {reason}")
    return metrics


def check_metrics(family: Family, source: Source, options: EvaluateOptions) -> None:
    """Validates the metrics of a config for a model and its data, without computing them.

    Raises:
      ValueError: a metric does not apply to the model or the data.
      ImportError: a package is missing.
    """
    names = selected_names(options)
    metrics_named(names, family, source)
    if options.feature_extractor and "sample_quality" not in names:
        raise ValueError(
            "evaluate.feature_extractor is set, but the number of samples is not: set "
            "evaluate.num_generated, for example to 5000"
        )


def compute_metrics(context: EvaluationContext, names: Sequence[str] = _ALWAYS) -> dict[str, float]:
    """The values of the metrics of a config, and of `names` where they apply.

    Raises:
      ValueError: as from `metrics_named`, or two metrics return the same name.
    """
    family, source = context.family, context.source
    known = {name: _metric(name) for name in names}
    metrics = {n: m for n, m in known.items() if not m.requires(family, source)}
    metrics |= metrics_named(selected_names(context.options), family, source)
    result: dict[str, float] = {}
    for name, metric in metrics.items():
        values = {key: float(np.asarray(v)) for key, v in metric.compute(context).items()}
        # A metric that is chosen twice, alone and as one of several, agrees with itself.
        if taken := sorted(k for k, value in values.items() if result.get(k, value) != value):
            raise ValueError(f"the metric {name!r} returns {taken}, as another metric does")
        result |= values
    return result


def in_summary(name: str) -> bool:
    """Whether a metric is printed in the table at the end of a run."""
    return name != "kl/0" and not is_curve_point(name)
