"""Figures of the space of one continuous latent vector: traversals, interpolations, a map."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vaejax.core.game import Batch, Family, Latent, Params, Trace
from vaejax.data import Source
from vaejax.evaluation.latent_space import (
    INTERPOLATIONS,
    decode_interpolations,
    posterior_means,
    principal_plane,
)
from vaejax.evaluation.traversals import traverse
from vaejax.visualization import plots
from vaejax.visualization.plots import Panel

__all__ = ["draw_interpolations", "draw_latent_map", "draw_traversals", "map_panels"]

_PANELS = 4  # factors that a map shows at most


def draw_traversals(
    family: Family,
    params: Params,
    node: Latent,
    path: Path,
    *,
    rows: int = 10,
    conditions: Batch | None = None,
) -> None:
    """Writes the traversals of a node, see `evaluation.traverse`, of a model of images.

    Args:
      family: whose decoder.
      params: of the model.
      node: the only node of the trace of many examples, a continuous vector.
      path: of the PNG.
      rows: latents at most.
      conditions: a batch whose first example gives the condition; None for none.
    """
    images, labels = traverse(family, params, node, rows, conditions=conditions)
    plots.traversals(path, np.asarray(images), labels)


def map_panels(source: Source, batch: Batch) -> list[Panel]:
    """The panels of a map: up to four factors that vary in the batch, or the label."""
    label = np.asarray(batch["label"]) if "label" in batch else None
    classes = source.class_names or ()
    if "factors" in batch:
        factors = np.asarray(batch["factors"])

        def class_names(i: int) -> Sequence[str]:  # the label may be one of the factors
            is_label = label is not None and np.array_equal(factors[:, i], label)
            return classes if is_label else ()

        names = source.factor_names or [f"factor {i}" for i in range(factors.shape[1])]
        varying = [i for i in range(factors.shape[1]) if len(np.unique(factors[:, i])) > 1]
        if varying:
            return [Panel(names[i], factors[:, i], class_names(i)) for i in varying[:_PANELS]]
    return [] if label is None else [Panel("label", label, classes)]


def draw_latent_map(path: Path, means: np.ndarray, panels: list[Panel]) -> None:
    """The map of posterior means `[N, D]`; not written without panels, or if D or N is 1."""
    if not panels or means.shape[1] < 2 or len(means) < 2:
        return
    points, explained = principal_plane(means)
    title, axes = "Posterior means", ("z0", "z1")
    if explained is not None:
        title += f": two principal components of {means.shape[1]}, {explained:.0%} of the variance"
        axes = ("first component", "second component")
    plots.latent_map(path, points, panels, title=title, axes=axes)


def draw_interpolations(
    family: Family,
    params: Params,
    trace: Trace,
    path: Path,
    *,
    pairs: int = 4,
    conditions: Batch | None = None,
) -> None:
    """Interpolations between posterior means of examples that are far apart in the trace.

    Of a single example there are none, and nothing is written.

    Args:
      family: whose decoder.
      params: of the model.
      trace: of examples `x`, which are images, with one or more samples each in adjacent rows.
      path: of the PNG.
      pairs: number of pairs.
      conditions: a batch of the examples, whose conditions are used; None for none.
    """
    means = posterior_means(trace)
    count = min(pairs, len(means) // 2)
    if count == 0:
        return
    chosen = np.linspace(0, len(means) - 1, 2 * count).astype(int).reshape(2, count).T
    project = getattr(trace.latents[0].posterior, "project", None)
    images = decode_interpolations(
        family, params, means, chosen, conditions=conditions, project=project
    )
    x = np.asarray(trace.x)
    title = "Interpolations between posterior means"
    if conditions is not None:
        title += ", under the condition of the left one"
    plots.interpolations(path, x[chosen], np.asarray(images), INTERPOLATIONS, title)
