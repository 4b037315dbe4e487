"""Pictures of a conditional model: its samples, and grids in which only c or only z changes."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.conditions import HIDDEN
from vaejax.core.game import Batch, Family, Params
from vaejax.data import Source
from vaejax.data.preprocess import event_shape, preparation
from vaejax.evaluation.conditional import is_conditional, sample_given, vary_condition, vary_latent
from vaejax.visualization.plots import grids_and_curves

_SIDE = 10  # rows and columns at most


def examples(source: Source, count: int, *, binarize: str = "none", seed: int = 0) -> Batch:
    """A batch of examples spread over the split, whose order may be by class."""
    indices = np.linspace(0, source.size - 1, count).astype(np.int32)
    prepare = jax.jit(preparation(source, binarize))
    return prepare(source.take(indices), jax.random.key(seed))


def spread(batch: Batch) -> Batch:
    """At most ten of a batch's examples, from the first to the last."""
    n = len(next(iter(batch.values())))
    picked = np.linspace(0, n - 1, min(_SIDE, n)).astype(np.int32)
    return {name: value[picked] for name, value in batch.items()}


def given_by_examples(
    family: Family, params: Params, source: Source, count: int, **options: Any
) -> Batch | None:
    """A batch whose conditions samples can be drawn under; None if the model wants none.

    Args:
      family: whose model.
      params: of it.
      source: the evaluation split.
      count: examples.
      **options: of `examples`.
    """
    if not is_conditional(family, params, source):
        return None
    return examples(source, count, **options)


def conditions_to_show(
    condition: jax.Array, batch: Batch, classes: int
) -> tuple[Batch, np.ndarray | None]:
    """The examples whose conditions the pictures show, and their classes where that is all.

    Args:
      condition: of the batch.
      batch: examples.
      classes: of the data.

    Returns:
      A batch of at most ten rows. If the condition is the class, one row a class (evenly spread
      over them if there are more), and these classes; else some of the examples, and None.
    """
    rows = spread(batch)
    if "label" not in batch or condition.shape != (len(condition), classes):
        return rows, None
    if not np.array_equal(condition, jax.nn.one_hot(batch["label"], classes)):
        return rows, None
    shown = np.unique(np.linspace(0, classes - 1, min(_SIDE, classes)).round().astype(np.int32))
    rows = {name: value[np.arange(len(shown))] for name, value in rows.items()}
    return {**rows, "label": jnp.asarray(shown)}, shown


def draw_conditional(
    family: Family,
    params: Params,
    source: Source,
    folder: Path,
    *,
    binarize: str = "none",
    seed: int = 0,
    temperature: float = 1.0,
) -> None:
    """Writes `conditional_samples.png`, `vary_condition.png`, `vary_latent.png`.

    Nothing for a model without condition, or for events that are no images.

    Args:
      family: whose model.
      params: of it.
      source: the evaluation split.
      folder: for the PNG files.
      binarize: as in training.
      seed: of all draws.
      temperature: of the prior that samples are drawn from.
    """
    shape = event_shape(source)
    if not grids_and_curves.is_image(shape) or not is_conditional(family, params, source):
        return
    batch, key = examples(source, 4 * _SIDE, binarize=binarize, seed=seed), jax.random.key(seed)
    condition = jax.jit(family.model.forward)(params, batch, key, jnp.int32(0)).condition
    given, classes = conditions_to_show(condition, batch, source.num_classes or 0)
    names = source.class_names
    labels = [] if classes is None else [names[k] if names else str(k) for k in classes]
    samples = jax.jit(lambda p: sample_given(family, p, given, key, _SIDE, temperature))(params)
    rows = spread(batch)
    mixed = jax.jit(lambda p: vary_condition(family, p, rows, given))(params)
    walks = jax.jit(lambda p: vary_latent(family, p, given, key, _SIDE))(params)

    def beside(images: jax.Array, *columns: jax.Array) -> np.ndarray:
        """A sheet of rows of images with single columns before them: `[rows · columns, ...]`."""
        parts = [*(np.asarray(c)[:, None] for c in columns), np.asarray(images)]
        return np.concatenate(parts, axis=1).reshape(-1, *shape)

    seen, what = [], "Each row:"
    if classes is None:
        seen, what = [given["image"]], "Each row: data;"
        if condition.shape[1:] == shape:
            c = spread({"condition": condition})["condition"]
            seen, what = [jnp.where(c == HIDDEN, 0.5, c), *seen], "Each row: condition; data;"
    grids_and_curves.save_grid(
        folder / "conditional_samples.png",
        beside(samples, *seen),
        samples.shape[1] + len(seen),
        title=f"{what} samples under one condition",
        row_labels=labels,
    )
    grids_and_curves.save_grid(
        folder / "vary_latent.png",
        beside(walks, *seen),
        walks.shape[1] + len(seen),
        title=f"{what} z changes, the condition stays",
        row_labels=labels,
    )
    grids_and_curves.save_grid(
        folder / "vary_condition.png",
        beside(mixed, rows["image"]),
        mixed.shape[1] + 1,
        title="Each row: data; the condition changes, z stays",
        column_labels=["data", *labels] if labels else (),
    )
