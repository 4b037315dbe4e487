"""The figures of a sweep against what was swept."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vaejax.visualization.plots.grids_and_curves import INK, MUTED, load_pyplot

_COLOURS = ("#3b6ea5", "#d1603d", "#4f8f5b", "#8a5a9e", "#b08a2e", "#5a7d8a")


def _label(settings: Mapping[str, float]) -> str:
    return ", ".join(f"{name.split('.')[-1]} {value:g}" for name, value in settings.items())


def sweep(path: Path, found: Mapping[str, Any], shown: Sequence[str]) -> None:
    """A panel a figure: its mean over seeds with an interval, and the seeds themselves as dots.

    The setting with most values is the horizontal axis; each choice of the others is a line.

    Args:
      path: of the PNG.
      found: as from `evaluation.sweep.results`.
      shown: which figures.
    """
    pyplot = load_pyplot()
    models = {m["model"]: m for m in found["models"]}
    names = list(found["points"][0]["settings"])
    values = {n: sorted({p["settings"][n] for p in found["points"]}) for n in names}
    across = max(names, key=lambda n: len(values[n])) if names else ""
    lines: dict[str, list[Any]] = {}
    for point in found["points"]:
        others = {k: v for k, v in point["settings"].items() if k != across}
        lines.setdefault(_label(others), []).append(point)
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(3.4 * columns, 2.6 * rows), squeeze=False, layout="constrained"
    )
    xs = values.get(across, [0.0])
    logarithmic = len(xs) > 1 and xs[0] > 0 and xs[-1] >= 8 * xs[0]
    span = math.log(xs[-1] / xs[0]) if logarithmic else xs[-1] - xs[0]
    for panel, name in zip(axes.flat, shown, strict=False):
        for i, (label, points) in enumerate(sorted(lines.items())):
            points = sorted(points, key=lambda p: p["settings"].get(across, 0.0))
            colour = _COLOURS[i % len(_COLOURS)]
            x = np.array([p["settings"].get(across, 0.0) for p in points])
            aside = 0.012 * (i - (len(lines) - 1) / 2) * span  # or intervals would hide others
            x = x * math.exp(aside) if logarithmic else x + aside
            mean = np.array([p["figures"][name]["mean"] for p in points], np.float64)
            half = np.array([p["figures"][name]["half_interval"] for p in points], np.float64)
            panel.errorbar(
                x, mean, np.nan_to_num(half), color=colour, lw=1.3, ms=4, marker="o", capsize=3,
                label=label,
            )  # fmt: skip
            seeds = [
                (at, models[m]["figures"][name])
                for at, p in zip(x, points, strict=True)
                for m in p["used"]
                if models[m]["figures"][name] is not None
            ]
            if seeds:
                panel.scatter(*zip(*seeds, strict=True), color=colour, s=7, alpha=0.45, lw=0)
        if logarithmic:
            panel.set_xscale("log")
        panel.set_xticks(xs, [f"{v:g}" for v in xs] if across else ["all seeds"])
        panel.minorticks_off()
        panel.set_xlabel(across, fontsize=7, color=MUTED)
        panel.set_title(name, fontsize=9, color=INK, loc="left")
        panel.tick_params(labelsize=7, colors=MUTED)
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color(MUTED)
    for panel in axes.flat[len(shown) :]:
        panel.set_visible(False)
    figure.suptitle(f"Mean; bars: {found['interval']}; dots: seeds", fontsize=8, color=MUTED)
    if len(lines) > 1:
        figure.legend(
            *axes.flat[0].get_legend_handles_labels(), loc="outside lower center", fontsize=8,
            ncols=min(len(lines), 4), frameon=False,
        )  # fmt: skip
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
