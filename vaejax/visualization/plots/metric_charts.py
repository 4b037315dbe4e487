"""Charts of numbers: metrics over training, code usage, bars, prediction errors by horizon."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vaejax.core.types import Options
from vaejax.visualization.plots.style import COLOURS, INK, LINES, MUTED, load_pyplot, save

__all__ = ["bars", "code_usage", "curves", "errors_by_horizon"]


def curves(path: Path, records: Sequence[Options]) -> None:
    """Every metric over the training steps, one panel each, for training and evaluation.

    Args:
      path: of the PNG; not written if there are no metrics.
      records: as from `training.logging.read_records`: `step`, `split`, then named numbers.
    """
    pyplot = load_pyplot()
    reserved = {"step", "split"}
    # Evaluations report the statistics of a batch under names of their own.
    records = [{k.removeprefix("batch/"): v for k, v in r.items()} for r in records]
    names = sorted({k for r in records for k in r if k not in reserved and not k.endswith("/0")})
    if not names:
        return
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(3 * columns, 2.1 * rows), squeeze=False, layout="constrained"
    )
    for panel, name in zip(axes.flat, names, strict=False):
        for split, colour in LINES.items():
            points = [
                (r["step"], r[name])
                for r in records
                if r["split"] == split and r.get(name) is not None
            ]
            if points:
                marker = "o" if split != "train" or len(points) == 1 else None
                panel.plot(
                    *zip(*points, strict=True), color=colour, lw=1.2, ms=3, marker=marker,
                    label=split,
                )  # fmt: skip
        panel.set_title(name, fontsize=9, color=INK, loc="left")
        panel.tick_params(labelsize=7, colors=MUTED)
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color(MUTED)
    for panel in axes.flat[len(names) :]:
        panel.set_visible(False)
    handles = {
        label: handle
        for panel in axes.flat
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside upper right", fontsize=8, ncols=2)
    figure.supxlabel("step", fontsize=8, color=MUTED)
    save(figure, path, dpi=130)
    pyplot.close(figure)


def code_usage(
    path: Path, counts: Mapping[str, np.ndarray], sizes: Mapping[str, int] | None = None
) -> None:
    """The share of tokens of each code, most used first, one line per quantizer.

    Args:
      path: of the file.
      counts: by name, how often each code was chosen, `[K]`; zeros may be left out.
      sizes: by name, the number of codes K; None for the lengths of `counts`.
    """
    pyplot = load_pyplot()
    figure, axes = pyplot.subplots(figsize=(7.5, 2.6), layout="constrained")
    for name, count in counts.items():
        share = np.sort(count / max(count.sum(), 1))[::-1]
        used, size = (count > 0).sum(), len(share) if sizes is None else sizes[name]
        axes.plot(
            np.arange(1, len(share) + 1), share, lw=1.4,
            label=f"{name}: {used} of {size} codes",
        )  # fmt: skip
        axes.axhline(1 / size, color=MUTED, lw=0.8, ls=":")
    axes.set_yscale("log")
    axes.set_xlabel("codes, most used first", fontsize=8)
    axes.set_ylabel("share of tokens", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    save(figure, path, dpi=150)
    pyplot.close(figure)


def bars(
    path: Path,
    panels: Sequence[tuple[str, Sequence[str], np.ndarray]],
    *,
    rows: int,
    title: str = "",
) -> None:
    """Panels of horizontal bars on a common scale, positive ones to the right.

    Args:
      path: of the PNG.
      panels: for each its title, the labels of its bars and their values, from the top.
      rows: number of bars that each panel has space for.
      title: above the panels.
    """
    pyplot = load_pyplot()
    panel_columns = min(4, len(panels))
    panel_rows = -(-len(panels) // panel_columns)
    size = (2.6 * panel_columns + 0.4, (0.17 * rows + 0.5) * panel_rows + 0.4)
    figure, axes = pyplot.subplots(
        panel_rows, panel_columns, figsize=size, squeeze=False, layout="constrained"
    )
    limit = 1.08 * max(float(np.abs(values).max()) for _, _, values in panels)
    for panel, (name, labels, values) in zip(axes.flat, panels, strict=False):
        positions = np.arange(len(values))
        colours = [LINES["train"] if value > 0 else LINES["eval"] for value in values]
        panel.barh(positions, values, color=colours, height=0.7)
        panel.set_yticks(positions, labels, fontsize=7, color=INK)
        panel.set_ylim(rows - 0.4, -0.6)
        panel.set_xlim(-limit, limit)
        panel.axvline(0.0, color=MUTED, lw=0.6)
        panel.set_title(name, fontsize=8, color=INK, loc="left")
        panel.tick_params(axis="x", labelsize=6, colors=MUTED)
        panel.tick_params(axis="y", length=0)
        panel.spines[["top", "right", "left"]].set_visible(False)
    for panel in axes.flat[len(panels) :]:
        panel.set_visible(False)
    if title:
        figure.suptitle(title, fontsize=9, color=INK, x=0.01, ha="left")
    save(figure, path, dpi=150)
    pyplot.close(figure)


def errors_by_horizon(path: Path, errors: Mapping[str, Mapping[int, float]]) -> None:
    """Squared errors by the number of steps ahead, one line for each kind of prediction.

    Args:
      path: of the PNG.
      errors: label -> steps ahead -> error.
    """
    figure, axes = load_pyplot().subplots(figsize=(4.6, 3.0), layout="constrained")
    for colour, (label, line) in zip(COLOURS, errors.items(), strict=False):
        points = sorted(line.items())
        axes.plot(*zip(*points, strict=True), color=colour, lw=1.3, ms=3.5, marker="o", label=label)
    steps = sorted({h for line in errors.values() for h in line})
    if steps[-1] >= 8 * steps[0]:
        axes.set_xscale("log")
    axes.set_xticks(steps, [str(h) for h in steps])
    axes.minorticks_off()
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("steps ahead", fontsize=8, color=MUTED)
    axes.set_ylabel("mean squared error of the expectation", fontsize=8, color=MUTED)
    axes.set_title("Prediction error by horizon", fontsize=9, color=INK, loc="left")
    axes.tick_params(labelsize=7, colors=MUTED)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False)
    save(figure, path, dpi=150)
    load_pyplot().close(figure)
