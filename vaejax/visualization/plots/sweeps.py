"""The metrics of a sweep against the swept hyperparameters."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vaejax.visualization.plots.style import COLOURS, INK, MUTED, load_pyplot, save

__all__ = ["sweep"]


def _label(settings: Mapping[str, float]) -> str:
    return ", ".join(f"{name.split('.')[-1]} {value:g}" for name, value in settings.items())


def sweep(path: Path, results: Mapping[str, Any], metrics: Sequence[str]) -> None:
    """A panel per metric: its mean over seeds with an interval, and the single seeds as dots.

    The setting with most values is the horizontal axis; each combination of the others is a line.

    Args:
      path: of the PNG.
      results: as from `sweeps.evaluate.results`.
      metrics: names of the metrics.
    """
    pyplot = load_pyplot()
    models = {m["model"]: m for m in results["models"]}
    names = list(results["points"][0]["settings"])
    values = {n: sorted({p["settings"][n] for p in results["points"]}) for n in names}
    x_name = max(names, key=lambda n: len(values[n])) if names else ""
    lines: dict[str, list[Any]] = {}
    for point in results["points"]:
        others = {k: v for k, v in point["settings"].items() if k != x_name}
        lines.setdefault(_label(others), []).append(point)
    columns = min(3, len(metrics))
    rows = -(-len(metrics) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(3.4 * columns, 2.6 * rows), squeeze=False, layout="constrained"
    )
    xs = values.get(x_name, [0.0])
    logarithmic = len(xs) > 1 and xs[0] > 0 and xs[-1] >= 8 * xs[0]
    span = math.log(xs[-1] / xs[0]) if logarithmic else xs[-1] - xs[0]
    for panel, name in zip(axes.flat, metrics, strict=False):
        for i, (label, points) in enumerate(sorted(lines.items())):
            points = sorted(points, key=lambda p: p["settings"].get(x_name, 0.0))
            colour = COLOURS[i % len(COLOURS)]
            x = np.array([p["settings"].get(x_name, 0.0) for p in points])
            # A small shift of each line, so that intervals do not cover each other.
            shift = 0.012 * (i - (len(lines) - 1) / 2) * span
            x = x * math.exp(shift) if logarithmic else x + shift
            mean = np.array([p["metrics"][name]["mean"] for p in points], np.float64)
            half = np.array([p["metrics"][name]["half_interval"] for p in points], np.float64)
            panel.errorbar(
                x, mean, np.nan_to_num(half), color=colour, lw=1.3, ms=4, marker="o", capsize=3,
                label=label,
            )  # fmt: skip
            seeds = [
                (position, models[m]["metrics"][name])
                for position, p in zip(x, points, strict=True)
                for m in p["used"]
                if models[m]["metrics"][name] is not None
            ]
            if seeds:
                panel.scatter(*zip(*seeds, strict=True), color=colour, s=7, alpha=0.45, lw=0)
        if logarithmic:
            panel.set_xscale("log")
        panel.set_xticks(xs, [f"{v:g}" for v in xs] if x_name else ["all seeds"])
        panel.minorticks_off()
        panel.set_xlabel(x_name, fontsize=7, color=MUTED)
        panel.set_title(name, fontsize=9, color=INK, loc="left")
        panel.tick_params(labelsize=7, colors=MUTED)
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color(MUTED)
    for panel in axes.flat[len(metrics) :]:
        panel.set_visible(False)
    figure.suptitle(f"Mean; bars: {results['interval']}; dots: seeds", fontsize=8, color=MUTED)
    if len(lines) > 1:
        figure.legend(
            *axes.flat[0].get_legend_handles_labels(), loc="outside lower center", fontsize=8,
            ncols=min(len(lines), 4), frameon=False,
        )  # fmt: skip
    save(figure, path, dpi=150)
    pyplot.close(figure)
