"""Pictures of a ladder's layers, as PNG files made from NumPy arrays; the top layer comes first."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vaejax.visualization.plots.grids_and_curves import INK, LINES, MUTED, load_pyplot, save_grid


def kl_per_layer(path: Path, nats: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> None:
    """A bar for the KL of each layer `[L]`; layers of one shape of z in one colour by turns."""
    pyplot = load_pyplot()
    layers = len(nats)
    figure, axes = pyplot.subplots(figsize=(max(4.0, 0.22 * layers + 2), 2.8), layout="constrained")
    starts = [i for i in range(layers) if i == 0 or shapes[i] != shapes[i - 1]]
    for number, (start, stop) in enumerate(zip(starts, [*starts[1:], layers], strict=True)):
        at = np.arange(start, stop)
        axes.bar(at, nats[start:stop], color=list(LINES.values())[number % 2], width=0.8)
        place = " × ".join(map(str, shapes[start]))
        axes.text(
            at.mean(), -0.07, f"\n{place}", transform=axes.get_xaxis_transform(), ha="center",
            va="top", fontsize=7, color=INK,
        )  # fmt: skip
    axes.set_xticks([*range(0, layers, max(1, layers // 10))])
    axes.set_ylabel("KL, nats", fontsize=8, color=MUTED)
    axes.set_xlabel("\nlayer, from the top, and shape of its z", fontsize=8, color=MUTED)
    axes.set_title(
        f"KL of each layer, {nats.sum():.1f} nats in all", fontsize=10, color=INK, loc="left"
    )
    axes.tick_params(labelsize=7, colors=MUTED)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def from_the_top(
    path: Path, x: np.ndarray, images: np.ndarray, kept: Sequence[int], layers: int
) -> None:
    """The data `[B, H, W, C]`, and below what the first k of all layers give `[K, B, H, W, C]`."""
    sheet = np.concatenate([x, images.reshape(-1, *x.shape[1:])])
    labels = ["data", *(f"top {k} of {layers}" for k in kept)]
    title = "Reconstructions from the top layers, the others as their priors expect them"
    save_grid(path, sheet, len(x), title=title, row_labels=labels)


def resampled(
    path: Path, x: np.ndarray, images: np.ndarray, kept: Sequence[int], layers: int
) -> None:
    """For each example, and each k: the example, and draws of the layers below the first k.

    Args:
      path: of the PNG.
      x: the data `[B, H, W, C]`.
      images: `[K, S, B, H, W, C]`.
      kept: K numbers of layers that were fixed.
      layers: in all.
    """
    rows, labels = [], []
    for example in range(len(x)):
        for i, k in enumerate(kept):
            rows.append(np.concatenate([x[example : example + 1], images[i, :, example]]))
            labels.append(f"top {k} of {layers} fixed")
    title = "Left the data; the layers below are drawn anew"
    columns = len(rows[0])
    save_grid(path, np.concatenate(rows), columns, title=title, row_labels=labels)
