"""Pictures of a latent space, as PNG files made from NumPy arrays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vaejax.visualization.plots.grids_and_curves import INK, MUTED, PALE, load_pyplot, save_grid

_TELLABLE = 10  # as many classes as there are colours that can be told apart


class Panel(NamedTuple):
    """By what the points of a map are coloured.

    Attributes:
      title: of the panel.
      values: the class of each point, int `[N]`; below 0 for none.
      names: of the classes, or none.
    """

    title: str
    values: np.ndarray
    names: Sequence[str] = ()


def interpolations(
    path: Path, ends: np.ndarray, between: np.ndarray, kinds: Sequence[str], title: str = ""
) -> None:
    """For each pair of examples a row a kind: the first, what lies between, the second.

    Args:
      path: of the PNG.
      ends: the data, `[N, 2, H, W, C]`.
      between: `[N, K, S, H, W, C]`.
      kinds: K words.
      title: above.
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
    """The points `[N, 2]` once a panel: a legend of few classes, a scale of many."""
    pyplot = load_pyplot()
    count = len(panels)
    columns = min(count, 2)
    rows = -(-count // columns)
    figure, grid = pyplot.subplots(
        rows, columns, figsize=(4.3 * columns, 3.4 * rows + 0.3), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for place, panel in zip(grid.flat, panels, strict=False):
        _points(pyplot, figure, place, points, panel)
        place.set_title(panel.title, fontsize=9, color=INK, loc="left")
        place.set_xlabel(axes[0], fontsize=8, color=MUTED)
        place.set_ylabel(axes[1], fontsize=8, color=MUTED)
        place.tick_params(labelsize=7, colors=MUTED)
        place.set_aspect("equal", adjustable="datalim")
        place.spines[["top", "right"]].set_visible(False)
    for place in grid.flat[count:]:
        place.set_visible(False)
    figure.suptitle(title, fontsize=10, color=INK, x=0.01, ha="left")
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _points(pyplot: Any, figure: Any, place: Any, points: np.ndarray, panel: Panel) -> None:
    values = np.asarray(panel.values)
    style = {"s": 9, "linewidths": 0, "alpha": 0.85}
    place.scatter(*points[values < 0].T, color=PALE, **style)
    classes = np.unique(values[values >= 0])
    if len(classes) > _TELLABLE or (len(classes) > 3 and not panel.names):
        known = values >= 0
        drawn = place.scatter(*points[known].T, c=values[known], cmap="viridis", **style)
        bar = figure.colorbar(drawn, ax=place, shrink=0.8)
        bar.ax.tick_params(labelsize=7, colors=MUTED)
        bar.outline.set_visible(False)
        return
    for value in classes:
        name = panel.names[value] if value < len(panel.names) else str(value)
        colour = pyplot.get_cmap("tab10")(int(value) % _TELLABLE)
        place.scatter(*points[values == value].T, color=[colour], label=name, **style)
    if len(classes):
        place.legend(
            fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0),
            handletextpad=0.1, labelcolor=INK,
        )  # fmt: skip
