"""Figures of a latent space, as PNG files from NumPy arrays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vaejax.visualization.plots.image_grids import save_grid
from vaejax.visualization.plots.style import INK, MUTED, PALE, load_pyplot, save

__all__ = ["Panel", "interpolations", "latent_map"]

_MAX_LEGEND = 10  # classes, the number of distinct colours; more are drawn with a colour bar


class Panel(NamedTuple):
    """A panel of a map, whose points are coloured by their class.

    Attributes:
      title: of the panel.
      values: the class of each point, int `[N]`; negative for none.
      names: of the classes, or none.
    """

    title: str
    values: np.ndarray
    names: Sequence[str] = ()


def interpolations(
    path: Path, ends: np.ndarray, between: np.ndarray, kinds: Sequence[str], title: str = ""
) -> None:
    """One row per pair of examples and kind of interpolation, between the data at its ends.

    Args:
      path: of the PNG.
      ends: the data, `[N, 2, H, W, C]`.
      between: decoded interpolations, `[N, K, S, H, W, C]`.
      kinds: K names.
      title: above the grid.
    """
    n, k, steps = between.shape[:3]
    first, last = (np.repeat(ends[:, i, None, None], k, axis=1) for i in (0, 1))
    sheet = np.concatenate([first, between, last], axis=2)
    columns = ["data", *[""] * steps, "data"]
    save_grid(
        path, sheet.reshape(-1, *sheet.shape[3:]), steps + 2, title=title,
        row_labels=[*kinds] * n, column_labels=columns,
    )  # fmt: skip


def latent_map(
    path: Path,
    points: np.ndarray,
    panels: Sequence[Panel],
    *,
    title: str,
    axes: tuple[str, str],
) -> None:
    """The points `[N, 2]` once per panel, with a legend for few classes, a colour bar for many."""
    pyplot = load_pyplot()
    count = len(panels)
    columns = min(count, 2)
    rows = -(-count // columns)
    figure, grid = pyplot.subplots(
        rows, columns, figsize=(4.3 * columns, 3.4 * rows + 0.3), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for plot, panel in zip(grid.flat, panels, strict=False):
        _scatter(pyplot, figure, plot, points, panel)
        plot.set_title(panel.title, fontsize=9, color=INK, loc="left")
        plot.set_xlabel(axes[0], fontsize=8, color=MUTED)
        plot.set_ylabel(axes[1], fontsize=8, color=MUTED)
        plot.tick_params(labelsize=7, colors=MUTED)
        plot.set_aspect("equal", adjustable="datalim")
        plot.spines[["top", "right"]].set_visible(False)
    for plot in grid.flat[count:]:
        plot.set_visible(False)
    figure.suptitle(title, fontsize=10, color=INK, x=0.01, ha="left")
    save(figure, path, dpi=150)
    pyplot.close(figure)


def _scatter(pyplot: Any, figure: Any, plot: Any, points: np.ndarray, panel: Panel) -> None:
    values = np.asarray(panel.values)
    style = {"s": 9, "linewidths": 0, "alpha": 0.85}
    plot.scatter(*points[values < 0].T, color=PALE, **style)
    classes = np.unique(values[values >= 0])
    if len(classes) > _MAX_LEGEND or (len(classes) > 3 and not panel.names):
        labelled = values >= 0
        scatter = plot.scatter(*points[labelled].T, c=values[labelled], cmap="viridis", **style)
        bar = figure.colorbar(scatter, ax=plot, shrink=0.8)
        bar.ax.tick_params(labelsize=7, colors=MUTED)
        bar.outline.set_visible(False)
        return
    for value in classes:
        name = panel.names[value] if value < len(panel.names) else str(value)
        colour = pyplot.get_cmap("tab10")(int(value) % _MAX_LEGEND)
        plot.scatter(*points[values == value].T, color=[colour], label=name, **style)
    if len(classes):
        plot.legend(
            fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0),
            handletextpad=0.1, labelcolor=INK,
        )  # fmt: skip
