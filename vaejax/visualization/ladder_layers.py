"""Figures of the layers of a ladder: KL, top-layer reconstructions, resampled lower layers."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from vaejax.core.game import Family, Params, Trace
from vaejax.evaluation.ladder_layers import layer_kl, reconstruct_from_top, resample_lower_layers
from vaejax.visualization import plots

__all__ = ["draw_ladder_layers", "select_layers"]

_ROWS = 6  # of a figure
_EXAMPLES, _RESAMPLED, _SAMPLES = 12, 3, 9  # examples in each figure, and samples of each


def select_layers(shapes: Sequence[tuple[int, ...]], rows: int = _ROWS) -> list[int]:
    """The numbers of top layers that the rows of a figure show, the number of all layers last.

    The last layers of each resolution come first; remaining rows go to the middles of the longest
    gaps between them.

    Args:
      shapes: of z in each layer, top-down.
      rows: at most.
    """
    total = len(shapes)
    ends = [i for i in range(1, total) if shapes[i] != shapes[i - 1]]
    selected = np.linspace(0, len(ends) - 1, min(len(ends), rows - 1)).round().astype(int)
    chosen = {total, *(ends[i] for i in selected)}
    while len(chosen) < min(rows, total):
        edges = sorted({0} | chosen)
        gap, low = max((b - a, -a) for a, b in itertools.pairwise(edges))
        chosen.add(gap // 2 - low)
    return sorted(chosen)


def draw_ladder_layers(
    family: Family, params: Params, trace: Trace, folder: Path, *, seed: int, images: bool
) -> None:
    """Writes `kl_per_layer.png`, and for images `layers.png` and `resampled.png`.

    Args:
      family: whose model, a ladder.
      params: of the model.
      trace: of some held-out examples.
      folder: for the files.
      seed: of the samples.
      images: whether events are images.
    """
    shapes = [node.z.shape[1:] for node in trace.latents]
    nats = np.asarray(jax.jit(layer_kl)(trace.latents))
    plots.kl_per_layer(folder / "kl_per_layer.png", nats, shapes)
    if not images:
        return
    top, count = select_layers(shapes), min(_EXAMPLES, len(trace.x))
    rows = np.linspace(0, len(trace.x) - 1, count).astype(int)
    zs = tuple(np.asarray(node.posterior.mean)[rows] for node in trace.latents)
    x = np.asarray(trace.x)[rows]
    means = np.asarray(reconstruct_from_top(family, params, zs, top))
    plots.top_layer_reconstructions(folder / "layers.png", x, means, top, len(shapes))
    few = tuple(z[:_RESAMPLED] for z in zs)
    fixed = [k for k in top if k < len(shapes)]  # with all layers fixed, nothing is sampled
    samples = resample_lower_layers(family, params, few, fixed, _SAMPLES, jax.random.key(seed))
    plots.resampled_layers(
        folder / "resampled.png", x[:_RESAMPLED], np.asarray(samples), fixed, len(shapes)
    )
