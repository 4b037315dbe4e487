"""Pictures: grids of images, traversals, curves, as PNG files made from NumPy arrays."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

INK, MUTED, PALE = "#222222", "#8a8a8a", "#bdbdbd"
LINES = {"train": "#3b6ea5", "eval": "#d1603d"}


def load_pyplot() -> Any:
    """Matplotlib, drawing to files unless something else is in use, such as a notebook's.

    Raises:
      ImportError: it is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(
            "figures need matplotlib: pip install 'vaejax[train]' (or 'matplotlib')"
        ) from error
    # Jupyter names its backend in the environment, before anything is imported.
    if "MPLBACKEND" not in os.environ and "matplotlib.pyplot" not in sys.modules:
        matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def is_image(shape: Sequence[int]) -> bool:
    """Whether events of this shape can be drawn: (H, W, 1) or (H, W, 3)."""
    return len(shape) == 3 and shape[-1] in (1, 3)


def tile(images: np.ndarray, columns: int, gap: int = 2) -> np.ndarray:
    """Images `[N, H, W, C]` in rows of `columns`, on white: `[rows · H', columns · W', C]`."""
    n, h, w, c = images.shape
    rows = -(-n // columns)
    sheet = np.ones((rows * (h + gap) + gap, columns * (w + gap) + gap, c), np.float32)
    for i, image in enumerate(np.clip(images, 0, 1)):
        top, left = (i // columns) * (h + gap) + gap, (i % columns) * (w + gap) + gap
        sheet[top : top + h, left : left + w] = image
    return sheet


def _show(axes: Any, sheet: np.ndarray) -> None:
    grey = sheet.shape[-1] == 1
    axes.imshow(sheet[..., 0] if grey else sheet, cmap="gray", vmin=0, vmax=1, aspect="equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def save_grid(
    path: Path,
    images: np.ndarray,
    columns: int,
    *,
    title: str = "",
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    inches: float = 0.62,
) -> None:
    """A sheet of images with a title and a label before each row.

    Args:
      path: of the PNG.
      images: `[N, H, W, C]` in [0, 1], row by row.
      columns: images a row.
      title: above.
      row_labels: one a row, or none.
      column_labels: one a column, or none; below.
      inches: width of one image.
    """
    pyplot = load_pyplot()
    sheet = tile(images, columns)
    rows = -(-len(images) // columns)
    width = columns * inches + (1.2 if row_labels else 0.2)
    height = columns * inches * sheet.shape[0] / sheet.shape[1] + (0.45 if title else 0.1)
    figure, axes = pyplot.subplots(figsize=(width, height), layout="constrained")
    _show(axes, sheet)
    if row_labels:
        centres = (np.arange(rows) + 0.5) * sheet.shape[0] / rows
        axes.set_yticks(centres, row_labels, fontsize=8, color=INK)
        axes.tick_params(length=0)
    if column_labels:
        centres = (np.arange(columns) + 0.5) * sheet.shape[1] / columns
        turned = 30 if max(map(len, column_labels)) > 8 else 0
        axes.set_xticks(centres, column_labels, fontsize=8, color=INK, rotation=turned)
        axes.tick_params(length=0)
    if title:
        axes.set_title(title, fontsize=10, color=INK, loc="left")
    figure.savefig(path, dpi=150, bbox_inches="tight", pad_inches=0.06)
    pyplot.close(figure)


def reconstructions(path: Path, x: np.ndarray, mean: np.ndarray, columns: int = 12) -> None:
    """Pairs of rows: the data above, its reconstruction below; `[N, H, W, C]` each."""
    count = max(len(x) - len(x) % columns, min(len(x), columns))
    rows, labels = [], []
    for start in range(0, count, columns):
        rows += [x[start : start + columns], mean[start : start + columns]]
        labels += ["data", "reconstruction"]
    columns = min(columns, count)
    save_grid(path, np.concatenate(rows), columns, title="Reconstructions", row_labels=labels)


def samples(path: Path, images: np.ndarray, title: str = "Samples from the prior") -> None:
    """A square-ish sheet of samples `[N, H, W, C]`."""
    save_grid(path, images, int(np.ceil(np.sqrt(len(images)))), title=title)


def traversals(path: Path, images: np.ndarray, labels: Sequence[str]) -> None:
    """One row a latent, one column a value: `[L, S, H, W, C]`, with a label for each row."""
    rows, columns = images.shape[:2]
    sheet = images.reshape(rows * columns, *images.shape[2:])
    title = "Traversals: one latent changes along each row"
    save_grid(path, sheet, columns, title=title, row_labels=labels)


def curves(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Every figure over the steps, training and evaluation, in one panel each."""
    pyplot = load_pyplot()
    taken = {"step", "split"}
    names = sorted({k for r in records for k in r if k not in taken and not k.endswith("/0")})
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
                marker = "o" if split == "eval" or len(points) == 1 else None
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
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def code_usage(path: Path, counts: Mapping[str, np.ndarray]) -> None:
    """How often each code is used, codes in order of use, one line a quantizer `[K]`."""
    pyplot = load_pyplot()
    figure, axes = pyplot.subplots(figsize=(7.5, 2.6), layout="constrained")
    for name, count in counts.items():
        share = np.sort(count / max(count.sum(), 1))[::-1]
        used = (count > 0).sum()
        axes.plot(
            np.arange(1, len(share) + 1), share, lw=1.4,
            label=f"{name}: {used} of {len(share)} codes",
        )  # fmt: skip
        axes.axhline(1 / len(share), color=MUTED, lw=0.8, ls=":")
    axes.set_yscale("log")
    axes.set_xlabel("codes, most used first", fontsize=8)
    axes.set_ylabel("share of tokens", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def bars(
    path: Path,
    panels: Sequence[tuple[str, Sequence[str], np.ndarray]],
    *,
    rows: int,
    title: str = "",
) -> None:
    """Panels of horizontal bars on one scale, positive ones to the right.

    Args:
      path: of the PNG.
      panels: of each its title, the labels of its bars and their values, from the top.
      rows: bars that each panel has room for.
      title: above.
    """
    pyplot = load_pyplot()
    across = min(4, len(panels))
    down = -(-len(panels) // across)
    size = (2.6 * across + 0.4, (0.17 * rows + 0.5) * down + 0.4)
    figure, axes = pyplot.subplots(
        down, across, figsize=size, squeeze=False, layout="constrained"
    )  # fmt: skip
    reach = 1.08 * max(float(np.abs(values).max()) for _, _, values in panels)
    for panel, (name, labels, values) in zip(axes.flat, panels, strict=False):
        at = np.arange(len(values))
        colours = [LINES["train"] if value > 0 else LINES["eval"] for value in values]
        panel.barh(at, values, color=colours, height=0.7)
        panel.set_yticks(at, labels, fontsize=7, color=INK)
        panel.set_ylim(rows - 0.4, -0.6)
        panel.set_xlim(-reach, reach)
        panel.axvline(0.0, color=MUTED, lw=0.6)
        panel.set_title(name, fontsize=8, color=INK, loc="left")
        panel.tick_params(axis="x", labelsize=6, colors=MUTED)
        panel.tick_params(axis="y", length=0)
        panel.spines[["top", "right", "left"]].set_visible(False)
    for panel in axes.flat[len(panels) :]:
        panel.set_visible(False)
    if title:
        figure.suptitle(title, fontsize=9, color=INK, x=0.01, ha="left")
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
