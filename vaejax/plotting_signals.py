"""Pictures of signals `[N, T, C]`: every one a panel, its first channel a line."""

from pathlib import Path

import numpy as np

from vaejax.plotting import INK, LINES, MUTED, load_pyplot

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
