"""Figures of signals `[N, T, C]`: one panel each, with the first channel as a line."""

from pathlib import Path
from typing import Any

import numpy as np

from vaejax.visualization.plots.style import INK, LINES, MUTED, PALE, load_pyplot, save

__all__ = ["signal_predictions", "signal_reconstructions", "signal_samples"]

_COLUMNS = 3


def signal_reconstructions(path: Path, x: np.ndarray, mean: np.ndarray, count: int = 12) -> None:
    """Reconstructions over their data, of `count` evenly spaced signals of `[N, T, C]` each."""
    rows = np.linspace(0, len(x) - 1, min(count, len(x))).astype(int)
    lines = [("data", MUTED, 2.2, x[rows]), ("reconstruction", LINES["eval"], 0.9, mean[rows])]
    _panels(path, lines, "Reconstructions")


def signal_samples(
    path: Path, signals: np.ndarray, title: str = "Samples from the prior", count: int = 12
) -> None:
    """The first `count` of signals `[N, T, C]`."""
    _panels(path, [("sample", LINES["train"], 0.9, signals[:count])], title)


def _panels(path: Path, lines: list[tuple[str, str, float, np.ndarray]], title: str) -> None:
    """Panels on a common scale; each line has a label, colour, width and signals `[N, T, C]`."""
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
    save(figure, path, dpi=130)
    pyplot.close(figure)


def signal_predictions(
    path: Path,
    x: np.ndarray,
    mean: np.ndarray,
    sd: np.ndarray,
    observed: int,
    *,
    truth: np.ndarray | None = None,
    title: str = "Predictions",
    count: int = 6,
) -> None:
    """Signals with their observed part, and the model's estimates: mean ± 2 sd.

    Args:
      path: of the PNG.
      x: measurements, `[N, T]`; the observed ones are dots, the later ones faint dots.
      mean: of R estimates of each, `[N, R, T]`; NaN where there is none.
      sd: their standard deviations, of the same shape.
      observed: number of measurements that the model was given, the first ones.
      truth: without noise, `[N, T]`; None if unknown.
      title: above the panels.
      count: signals at most.
    """
    pyplot = load_pyplot()
    count = min(count, len(x))
    columns = min(2, count)
    rows = -(-count // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(4.8 * columns, 1.5 * rows + 0.6), squeeze=False,
        layout="constrained", sharex=True, sharey=True,
    )  # fmt: skip
    for i, panel in enumerate(axes.flat):
        panel.set_visible(i < count)
        if i < count:
            clean = None if truth is None else truth[i]
            _prediction(panel, x[i], mean[i], sd[i], observed, clean)
            panel.tick_params(labelbottom=i + columns >= count)
    figure.suptitle(title, fontsize=10, color=INK, x=0.01, ha="left")
    figure.supxlabel("time in steps", fontsize=8, color=MUTED)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", fontsize=8, ncols=5, frameon=False)
    save(figure, path, dpi=130)
    pyplot.close(figure)


def _prediction(
    panel: Any,
    x: np.ndarray,
    means: np.ndarray,
    sds: np.ndarray,
    observed: int,
    truth: np.ndarray | None,
) -> None:
    """One signal `[T]` with its R estimates, `[R, T]` each."""
    t = np.arange(len(x))
    panel.plot(t[:observed], x[:observed], "o", color=LINES["train"], ms=2, mew=0, label="observed")
    if observed < len(x):
        panel.plot(t[observed:], x[observed:], "o", color=PALE, ms=2, mew=0, label="not observed")
        panel.axvline(observed - 0.5, color=MUTED, lw=0.8, ls=":")
    if truth is not None:
        panel.plot(t, truth, color=INK, lw=0.9, label="truth")
    opacity = max(0.06, 0.3 / len(means))
    for r, (mean, sd) in enumerate(zip(means, sds, strict=True)):
        panel.plot(
            t, mean, color=LINES["eval"], lw=1.0,
            alpha=1.0 if len(means) == 1 else 0.7, label="" if r else "mean ± 2 sd",
        )  # fmt: skip
        panel.fill_between(
            t, mean - 2 * sd, mean + 2 * sd, color=LINES["eval"], alpha=opacity, lw=0
        )
    panel.margins(x=0.01)
    panel.tick_params(labelsize=6, colors=MUTED, length=2)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(MUTED)
