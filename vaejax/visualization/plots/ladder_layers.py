"""Figures of the layers of a ladder, the top layer first, as PNG files from NumPy arrays."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vaejax.visualization.plots.image_grids import save_grid
from vaejax.visualization.plots.style import INK, LINES, MUTED, load_pyplot, save

__all__ = ["kl_per_layer", "resampled_layers", "top_layer_reconstructions"]


def kl_per_layer(path: Path, nats: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> None:
    """A bar for the KL of each layer `[L]`; colours alternate between shapes of z."""
    pyplot = load_pyplot()
    layers = len(nats)
    figure, axes = pyplot.subplots(figsize=(max(4.0, 0.22 * layers + 2), 2.8), layout="constrained")
    starts = [i for i in range(layers) if i == 0 or shapes[i] != shapes[i - 1]]
    for number, (start, stop) in enumerate(zip(starts, [*starts[1:], layers], strict=True)):
        positions = np.arange(start, stop)
        axes.bar(positions, nats[start:stop], color=list(LINES.values())[number % 2], width=0.8)
        shape = " × ".join(map(str, shapes[start]))
        axes.text(
            positions.mean(), -0.07, f"\n{shape}", transform=axes.get_xaxis_transform(),
            ha="center", va="top", fontsize=7, color=INK,
        )  # fmt: skip
    axes.set_xticks([*range(0, layers, max(1, layers // 10))])
    axes.set_ylabel("KL, nats", fontsize=8, color=MUTED)
    axes.set_xlabel("\nlayer, top-down, and shape of its z", fontsize=8, color=MUTED)
    axes.set_title(
        f"KL of each layer, {nats.sum():.1f} nats in total", fontsize=10, color=INK, loc="left"
    )
    axes.tick_params(labelsize=7, colors=MUTED)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path, dpi=150)
    pyplot.close(figure)


def top_layer_reconstructions(
    path: Path, x: np.ndarray, images: np.ndarray, top: Sequence[int], layers: int
) -> None:
    """The data `[B, H, W, C]`, and below it reconstructions from the top layers.

    Args:
      path: of the PNG.
      x: the data, `[B, H, W, C]`.
      images: `[K, B, H, W, C]`.
      top: K numbers of top layers.
      layers: number of all layers.
    """
    sheet = np.concatenate([x, images.reshape(-1, *x.shape[1:])])
    labels = ["data", *(f"top {k} of {layers}" for k in top)]
    title = "Reconstructions from the top layers, lower ones at their prior means"
    save_grid(path, sheet, len(x), title=title, row_labels=labels)


def resampled_layers(
    path: Path, x: np.ndarray, images: np.ndarray, top: Sequence[int], layers: int
) -> None:
    """For each example and each k: the example, and samples with the top k layers fixed.

    Args:
      path: of the PNG.
      x: the data `[B, H, W, C]`.
      images: `[K, S, B, H, W, C]`.
      top: K numbers of top layers.
      layers: number of all layers.
    """
    rows, labels = [], []
    for example in range(len(x)):
        for i, k in enumerate(top):
            rows.append(np.concatenate([x[example : example + 1], images[i, :, example]]))
            labels.append(f"top {k} of {layers} fixed")
    title = "Resampling of the lower layers; left: data"
    columns = len(rows[0])
    save_grid(path, np.concatenate(rows), columns, title=title, row_labels=labels)
