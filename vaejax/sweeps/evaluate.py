"""The figures of every model of a sweep, over a whole split; and what they come to over seeds."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from vaejax.core.game import Params
from vaejax.core.registry import near_names
from vaejax.core.sharding import replicated
from vaejax.data import Source
from vaejax.data.preprocess import preparation
from vaejax.evaluation.evaluate import averaged, judgement, summed
from vaejax.sweeps.confidence_intervals import mean_interval
from vaejax.sweeps.grid import Grid
from vaejax.sweeps.sweep import Make, over_models, select

# What is shown unless other figures are asked for, where a model has them.
SHOWN = ("elbo", "nll", "kl", "mse", "accuracy", "tc", "mmd", "codes_used", "active_units")

INTERVAL = "95 % confidence interval of the mean over seeds (Student's t)"


class SweepEvaluator(NamedTuple):
    """A compiled evaluation of all models of a sweep.

    Attributes:
      evaluate: `(params [N, ...], step, limit=0) -> figures`, `[N]` each, as of `evaluator`.
      names: of the figures.
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
    """An evaluation in which every model sees the noise that it would see alone.

    Args:
      make: as for a `Sweep`, like the next.
      grid: the models.
      params: of the stack of models, or their shapes.
      source: the split.
      mesh: the devices, over which models are spread.
      batch_size: examples at once.
      chunk: models at once on a device.
      binarize: as in training.
    """
    prepare = preparation(source, binarize)
    own = {k: v.astype(np.float32) for k, v in grid.settings.items()}, grid.seeds

    def of_model(own: Any, shared: Any) -> Any:
        (values, seed), params = own
        return judgement(make(values), prepare)(seed, params, *shared)

    of_all = over_models(of_model, mesh, chunk)
    judge = jax.jit(
        lambda params, own, *shared: of_all((own, params), shared), out_shardings=replicated(mesh)
    )

    def evaluate(params: Params, step: int, limit: int = 0) -> dict[str, np.ndarray]:
        def of_batch(*batch: Any) -> Any:
            return judge(params, own, *batch, np.int32(step))

        total, size = summed(of_batch, source, replicated(mesh), batch_size, limit)
        each = [averaged(select(total, i), size) for i in range(grid.size)]
        return {name: np.array([figures[name] for figures in each]) for name in each[0]}

    rows = source.take(np.zeros(batch_size, np.int32))
    mask, number = np.ones(batch_size, bool), np.uint32(0)
    sums = jax.eval_shape(judge, params, own, rows, mask, number, np.int32(0))
    zeros = jax.tree.map(lambda s: np.zeros(s.shape[1:]), sums)
    return SweepEvaluator(evaluate, tuple(averaged(zeros, 1)))


def chosen(text: str, names: Sequence[str]) -> list[str]:
    """The figures to show: those asked for, as `"elbo, mse"`, or the usual ones.

    Raises:
      ValueError: there is none of a name.
    """
    asked = [name.strip() for name in text.split(",") if name.strip()]
    for name in asked:
        if name not in names:
            raise ValueError(f"sweep.figures: no figure {near_names(name, names)}")
    return asked or [name for name in SHOWN if name in names]


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None  # JSON has neither NaN nor infinity


def results(
    grid: Grid, figures: Mapping[str, np.ndarray], failed: np.ndarray, step: int
) -> dict[str, Any]:
    """What `sweep.json` holds: of each model its figures, of each choice of settings their means.

    Models that failed have figures, of the last parameters they had, and no part in the means.
    """
    models = [
        {
            "model": i,
            "seed": int(grid.seeds[i]),
            "settings": grid.of(i),
            "failed": bool(failed[i]),
            "figures": {name: _finite(values[i]) for name, values in figures.items()},
        }
        for i in range(grid.size)
    ]
    points = []
    for settings, members in grid.points():
        good = [i for i in members if not failed[i]]
        means = {}
        for name, values in figures.items():
            mean, half = mean_interval(values[good].tolist())
            means[name] = {"mean": _finite(mean), "half_interval": _finite(half)}
        points.append({"settings": settings, "models": members, "used": good, "figures": means})
    return {"step": step, "interval": INTERVAL, "models": models, "points": points}


def _short(names: Sequence[str]) -> dict[str, str]:
    """Each name by its last parts, as many as tell them apart."""
    for parts in range(1, 1 + max((name.count(".") + 1 for name in names), default=0)):
        short = {name: ".".join(name.split(".")[-parts:]) for name in names}
        if len(set(short.values())) == len(names):
            return short
    return {name: name for name in names}


def grid_table(title: str, found: Mapping[str, Any], shown: Sequence[str]) -> str:
    """A readable table: a row a choice of settings, mean ± half an interval of some figures."""
    points = found["points"]
    names = list(points[0]["settings"])
    short = _short(names)
    rows = [[short[name] for name in names] + ["seeds", *shown]]
    for point in points:
        cells = [f"{point['settings'][name]:g}" for name in names]
        cells.append(str(len(point["used"])))
        for name in shown:
            figure = point["figures"][name]
            mean, half = figure["mean"], figure["half_interval"]
            text = "–" if mean is None else f"{mean:.5g}"
            cells.append(text + ("" if half is None else f" ± {half:.2g}"))
        rows.append(cells)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{c:>{w}}" for c, w in zip(row, widths, strict=True)) for row in rows]
    rule = "─" * (len(lines[0]) + 4)
    failed = [str(m["model"]) for m in found["models"] if m["failed"]]
    told = [f"failed, not in the means: models {', '.join(failed)}"] if failed else []
    return "\n".join([title, rule, *(f"  {line}" for line in [*lines, *told]), rule])
