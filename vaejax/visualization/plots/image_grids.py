"""Grids of images: reconstructions, samples and traversals, as PNG files from NumPy arrays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vaejax.visualization.plots.style import INK, load_pyplot, save

__all__ = [
    "image_reconstructions",
    "image_samples",
    "is_image",
    "save_grid",
    "tile",
    "traversals",
]


def is_image(shape: Sequence[int]) -> bool:
    """Whether events of this shape can be drawn as images: (H, W, 1) or (H, W, 3)."""
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
    """A grid of images with a title, and labels of its rows and columns.

    Args:
      path: of the PNG.
      images: `[N, H, W, C]` in [0, 1], row by row.
      columns: images per row.
      title: above the grid.
      row_labels: one for each row, left of it; or none.
      column_labels: one for each column, below it; or none.
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
        rotation = 30 if max(map(len, column_labels)) > 8 else 0
        axes.set_xticks(centres, column_labels, fontsize=8, color=INK, rotation=rotation)
        axes.tick_params(length=0)
    if title:
        axes.set_title(title, fontsize=10, color=INK, loc="left")
    save(figure, path, dpi=150, bbox_inches="tight", pad_inches=0.06)
    pyplot.close(figure)


def image_reconstructions(path: Path, x: np.ndarray, mean: np.ndarray, columns: int = 12) -> None:
    """Pairs of rows: the data above, its reconstruction below; `[N, H, W, C]` each."""
    count = max(len(x) - len(x) % columns, min(len(x), columns))
    rows, labels = [], []
    for start in range(0, count, columns):
        rows += [x[start : start + columns], mean[start : start + columns]]
        labels += ["data", "reconstruction"]
    columns = min(columns, count)
    save_grid(path, np.concatenate(rows), columns, title="Reconstructions", row_labels=labels)


def image_samples(path: Path, images: np.ndarray, title: str = "Samples from the prior") -> None:
    """A square-ish grid of samples `[N, H, W, C]`."""
    save_grid(path, images, int(np.ceil(np.sqrt(len(images)))), title=title)


def traversals(path: Path, images: np.ndarray, labels: Sequence[str]) -> None:
    """One row per latent, one column per value: `[L, S, H, W, C]`, with a label for each row."""
    rows, columns = images.shape[:2]
    sheet = images.reshape(rows * columns, *images.shape[2:])
    save_grid(path, sheet, columns, title="Latent traversals", row_labels=labels)
