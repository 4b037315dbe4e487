"""Pictures of signals `[N, T, C]`: every one a panel, its first channel a line."""

from pathlib import Path
from typing import Any

import numpy as np

from vaejax.visualization.plots.grids_and_curves import INK, LINES, MUTED, PALE, load_pyplot

_COLUMNS = 3


def reconstructions(path: Path, x: np.ndarray, mean: np.ndarray, count: int = 12) -> None:
    """Reconstructions over their data, of `count` signals spread over the `[N, T, C]` of each."""
    picked = np.linspace(0, len(x) - 1, min(count, len(x))).astype(int)
    lines = [("data", MUTED, 2.2, x[picked]), ("reconstruction", LINES["eval"], 0.9, mean[picked])]
    _panels(path, lines, "Reconstructions")


def samples(
    path: Path, signals: np.ndarray, title: str = "Samples from the prior", count: int = 12
) -> None:
    """The first `count` of signals `[N, T, C]`."""
    _panels(path, [("sample", LINES["train"], 0.9, signals[:count])], title)


def _panels(path: Path, lines: list[tuple[str, str, float, np.ndarray]], title: str) -> None:
    """Panels of one scale, with lines of a label, colour, width and signals `[N, T, C]`."""
    pyplot = load_pyplot()
    count = len(lines[0][3])
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    size = (3.2 * columns, 1.05 * rows + 0.5)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=size, squeeze=False, layout="constrained", sharex=True, sharey=True
    )
    for i, panel in enumerate(axes.flat):
        panel.set_visible(i < count)
        for label, colour, width, signals in lines:
            if i < count:
                panel.plot(signals[i, :, 0], color=colour, lw=width, label=label)
        panel.axhline(0.0, color=MUTED, lw=0.4)
        panel.margins(x=0)
        panel.tick_params(labelsize=6, colors=MUTED, length=2)
        panel.spines[["top", "right", "bottom"]].set_visible(False)
        panel.spines["left"].set_color(MUTED)
    figure.suptitle(title, fontsize=10, color=INK, x=0.01, ha="left")
    figure.supxlabel("time in samples", fontsize=8, color=MUTED)
    if len(lines) > 1:
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper right", fontsize=8, ncols=2, frameon=False
        )
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def beliefs(
    path: Path,
    observed: np.ndarray,
    mean: np.ndarray,
    sd: np.ndarray,
    given: int,
    *,
    truth: np.ndarray | None = None,
    title: str = "Predictions",
    count: int = 6,
) -> None:
    """Signals, what the model was given of them, and what it expects: the mean ± 2 sd.

    Args:
      path: of the PNG.
      observed: `[N, T]`; the first `given` are dots, the later ones faint.
      mean: of R rollouts or beliefs of each, `[N, R, T]`; NaN where there is none.
      sd: their standard deviations, the same.
      given: k, observations that the model saw.
      truth: without noise, `[N, T]`; None if unknown.
      title: above.
      count: signals at most.
    """
    pyplot = load_pyplot()
    count = min(count, len(observed))
    columns = min(2, count)
    rows = -(-count // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(4.8 * columns, 1.5 * rows + 0.6), squeeze=False,
        layout="constrained", sharex=True, sharey=True,
    )  # fmt: skip
    for i, panel in enumerate(axes.flat):
        panel.set_visible(i < count)
        if i < count:
            _belief(panel, observed[i], mean[i], sd[i], given, truth if truth is None else truth[i])
            panel.tick_params(labelbottom=i + columns >= count)
    figure.suptitle(title, fontsize=10, color=INK, x=0.01, ha="left")
    figure.supxlabel("time in steps", fontsize=8, color=MUTED)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", fontsize=8, ncols=5, frameon=False)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _belief(
    panel: Any, y: np.ndarray, mean: np.ndarray, sd: np.ndarray, given: int, x: np.ndarray | None
) -> None:
    """One signal `[T]` with the rollouts `[R, T]` that were made for it."""
    t = np.arange(len(y))
    panel.plot(t[:given], y[:given], "o", color=LINES["train"], ms=2, mew=0, label="given")
    if given < len(y):
        panel.plot(t[given:], y[given:], "o", color=PALE, ms=2, mew=0, label="not given")
        panel.axvline(given - 0.5, color=MUTED, lw=0.8, ls=":")
    if x is not None:
        panel.plot(t, x, color=INK, lw=0.9, label="truth")
    opacity = max(0.06, 0.3 / len(mean))
    for r, (middle, spread) in enumerate(zip(mean, sd, strict=True)):
        panel.plot(
            t, middle, color=LINES["eval"], lw=1.0,
            alpha=1.0 if len(mean) == 1 else 0.7, label="" if r else "mean ± 2 sd",
        )  # fmt: skip
        panel.fill_between(
            t, middle - 2 * spread, middle + 2 * spread,
            color=LINES["eval"], alpha=opacity, lw=0,
        )  # fmt: skip
    panel.margins(x=0.01)
    panel.tick_params(labelsize=6, colors=MUTED, length=2)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(MUTED)
