"""Metrics of every model of a sweep over a whole split, and their means over seeds."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from vaejax.core.game import Params
from vaejax.core.registry import near_names
from vaejax.core.sharding import replicated
from vaejax.core.types import Options, PyTree
from vaejax.data import Source
from vaejax.data.map_split import sum_over_split
from vaejax.data.preprocess import preparation
from vaejax.evaluation.evaluate import batch_sums, metrics_of_sums
from vaejax.sweeps.confidence_intervals import mean_interval
from vaejax.sweeps.grid import Grid
from vaejax.sweeps.multi_seed_loader import rows_of_all_models
from vaejax.sweeps.sweep import Make, over_models, select

__all__ = [
    "SweepEvaluator",
    "grid_table",
    "results",
    "select_metrics",
    "sweep_evaluator",
]

# The metrics shown by default, if a model has them.
_DEFAULT_METRICS = (
    "elbo", "nll", "kl", "mse", "accuracy", "tc", "batch/tc", "batch/mmd", "codes_used",
    "active_units",
)  # fmt: skip

_INTERVAL = "95 % confidence interval of the mean over seeds (Student's t)"


class SweepEvaluator(NamedTuple):
    """A compiled evaluation of all models of a sweep.

    Attributes:
      evaluate: `(params [N, ...], step, limit=0) -> metrics`, `[N]` each; see `evaluator`.
      names: of the metrics.
    """

    evaluate: Callable[..., dict[str, np.ndarray]]
    names: tuple[str, ...]


def sweep_evaluator(
    make: Make,
    grid: Grid,
    params: Params,
    source: Source,
    mesh: Mesh,
    *,
    batch_size: int,
    chunk: int,
    binarize: str = "none",
) -> SweepEvaluator:
    """An evaluation in which every model gets the same noise as in an evaluation of its own.

    Args:
      make: as for a `Sweep`.
      grid: the models.
      params: of all models, `[N, ...]` each, or their shapes.
      source: the split.
      mesh: devices, over which the models are spread.
      batch_size: examples at once.
      chunk: models at once on a device.
      binarize: as in training.
    """
    prepare = preparation(source, binarize)
    settings = {k: v.astype(np.float32) for k, v in grid.settings.items()}, grid.seeds

    def model_sums(per_model: PyTree, shared: PyTree) -> PyTree:
        (values, seed), params = per_model
        return batch_sums(make(values), prepare)(seed, params, *shared)

    all_sums = over_models(model_sums, mesh, chunk)
    compiled = jax.jit(
        lambda params, settings, *shared: all_sums((settings, params), shared),
        out_shardings=replicated(mesh),
    )

    rows = rows_of_all_models(mesh)

    def evaluate(params: Params, step: int, limit: int = 0) -> dict[str, np.ndarray]:
        def sums(*batch: PyTree) -> PyTree:
            return compiled(params, settings, *batch, np.int32(step))

        total = sum_over_split(sums, source, batch_size, limit=limit, sharding=rows)
        size = min(limit, source.size) if limit else source.size
        per_model = [metrics_of_sums(select(total, i), size) for i in range(grid.size)]
        return {name: np.array([metrics[name] for metrics in per_model]) for name in per_model[0]}

    example = source.take(np.zeros(1, np.int32))
    batch = {k: np.zeros((batch_size, *v.shape[1:]), v.dtype) for k, v in example.items()}
    mask, number = np.ones(batch_size, bool), np.uint32(0)
    shapes = jax.eval_shape(compiled, params, settings, batch, mask, number, np.int32(0))
    zeros = jax.tree.map(lambda s: np.zeros(s.shape[1:]), shapes)
    return SweepEvaluator(evaluate, tuple(metrics_of_sums(zeros, 1)))


def select_metrics(text: str, names: Sequence[str]) -> list[str]:
    """The metrics named in a text such as `"elbo, mse"`, or the default ones if it is empty.

    Args:
      text: the config field `sweep.metrics`.
      names: of all metrics.

    Raises:
      ValueError: an unknown metric.
    """
    selected = [name.strip() for name in text.split(",") if name.strip()]
    for name in selected:
        if name not in names:
            raise ValueError(f"sweep.metrics: unknown metric {near_names(name, names)}")
    return selected or [name for name in _DEFAULT_METRICS if name in names]


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None  # JSON has neither NaN nor infinity


def results(
    grid: Grid, metrics: Mapping[str, np.ndarray], failed: np.ndarray, step: int
) -> dict[str, PyTree]:
    """The content of `sweep.json`: metrics of each model, and means over the seeds of each point.

    The metrics of a failed model are those of its last parameters; the means leave it out.

    Args:
      grid: the models.
      metrics: by name, `[N]` each.
      failed: which models failed, bool `[N]`.
      step: number of steps taken.
    """
    models = [
        {
            "model": i,
            "seed": int(grid.seeds[i]),
            "settings": grid.of(i),
            "failed": bool(failed[i]),
            "metrics": {name: _finite(values[i]) for name, values in metrics.items()},
        }
        for i in range(grid.size)
    ]
    points = []
    for settings, members in grid.points():
        used = [i for i in members if not failed[i]]
        means = {}
        for name, values in metrics.items():
            mean, half = mean_interval(values[used].tolist())
            means[name] = {"mean": _finite(mean), "half_interval": _finite(half)}
        points.append({"settings": settings, "models": members, "used": used, "metrics": means})
    return {"step": step, "interval": _INTERVAL, "models": models, "points": points}


def _short_names(names: Sequence[str]) -> dict[str, str]:
    """The shortest suffixes, of equally many parts, that distinguish the names."""
    for parts in range(1, 1 + max((name.count(".") + 1 for name in names), default=0)):
        short = {name: ".".join(name.split(".")[-parts:]) for name in names}
        if len(set(short.values())) == len(names):
            return short
    return {name: name for name in names}


def grid_table(title: str, summary: Options, shown: Sequence[str]) -> str:
    """A text table: one row per point of the grid, with mean ± half an interval of some metrics.

    Args:
      title: first line.
      summary: of `results`.
      shown: names of the metrics.
    """
    points = summary["points"]
    names = list(points[0]["settings"])
    short = _short_names(names)
    rows = [[short[name] for name in names] + ["seeds", *shown]]
    for point in points:
        cells = [f"{point['settings'][name]:g}" for name in names]
        cells.append(str(len(point["used"])))
        for name in shown:
            mean, half = point["metrics"][name]["mean"], point["metrics"][name]["half_interval"]
            text = "–" if mean is None else f"{mean:.5g}"
            cells.append(text + ("" if half is None else f" ± {half:.2g}"))
        rows.append(cells)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{c:>{w}}" for c, w in zip(row, widths, strict=True)) for row in rows]
    rule = "─" * (len(lines[0]) + 4)
    failed = [str(m["model"]) for m in summary["models"] if m["failed"]]
    if failed:
        lines.append(f"failed, not in the means: models {', '.join(failed)}")
    return "\n".join([title, rule, *(f"  {line}" for line in lines), rule])
