"""Figures of a conditional model: samples, and grids in which only c or only z changes."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.conditions import HIDDEN
from vaejax.core.game import Batch, Params
from vaejax.data.preprocess import event_shape
from vaejax.evaluation.conditional_samples import (
    evenly_spaced_examples,
    sample_per_condition,
    vary_condition,
    vary_latent,
)
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.model_shapes import is_conditional
from vaejax.visualization import plots

__all__ = ["draw_conditional", "select_conditions"]

_SIDE = 10  # rows and columns at most


def _select_rows(batch: Batch) -> Batch:
    """At most ten of a batch's examples, evenly spaced from the first to the last."""
    n = len(next(iter(batch.values())))
    rows = np.linspace(0, n - 1, min(_SIDE, n)).astype(np.int32)
    return {name: jnp.asarray(np.asarray(value)[rows]) for name, value in batch.items()}


def select_conditions(
    condition: jax.Array, batch: Batch, classes: int
) -> tuple[Batch, np.ndarray | None]:
    """The examples whose conditions the figures show, and their classes.

    Args:
      condition: of the batch.
      batch: examples.
      classes: number of classes of the data.

    Returns:
      A batch of at most ten rows, and classes. If the condition is the class, one row per class
      (evenly spaced if there are more than ten), and these classes; else some of the examples, and
      None.
    """
    rows = _select_rows(batch)
    if "label" not in batch or condition.shape != (len(condition), classes):
        return rows, None
    if not np.array_equal(condition, np.asarray(batch["label"])[:, None] == np.arange(classes)):
        return rows, None
    labels = np.unique(np.linspace(0, classes - 1, min(_SIDE, classes)).round().astype(np.int32))
    rows = {name: value[np.arange(len(labels))] for name, value in rows.items()}
    return {**rows, "label": jnp.asarray(labels)}, labels


def draw_conditional(context: EvaluationContext, folder: Path, *, temperature: float = 1.0) -> None:
    """Writes `conditional_samples.png`, `vary_condition.png`, `vary_latent.png`.

    Nothing for an unconditional model, or for events that are not images.

    Args:
      context: the model and the evaluation split.
      folder: for the PNG files.
      temperature: of the prior that samples are drawn from.
    """
    family, params, source = context.family, context.local_params, context.source
    shape = event_shape(source)
    if not plots.is_image(shape) or not is_conditional(family, source):
        return
    batch = evenly_spaced_examples(context, 4 * _SIDE)
    key = jax.random.key(context.seed)
    condition = jax.jit(family.model.forward)(params, batch, key, np.int32(0)).condition
    conditions, classes = select_conditions(condition, batch, source.num_classes or 0)
    names = source.class_names
    labels = [] if classes is None else [names[k] if names else str(k) for k in classes]
    examples = _select_rows(batch)

    @jax.jit
    def grids(params: Params, examples: Batch, conditions: Batch) -> tuple[jax.Array, ...]:
        return (
            sample_per_condition(family, params, conditions, key, _SIDE, temperature),
            vary_condition(family, params, examples, conditions),
            vary_latent(family, params, conditions, key, _SIDE),
        )

    samples, varied, walks = grids(params, examples, conditions)

    def with_columns(images: jax.Array, *columns: np.ndarray | jax.Array) -> np.ndarray:
        """Rows of images with single columns before them: `[rows · columns, ...]`."""
        parts = [*(np.asarray(c)[:, None] for c in columns), np.asarray(images)]
        return np.concatenate(parts, axis=1).reshape(-1, *shape)

    first_columns: list[np.ndarray | jax.Array] = []
    prefix = "Each row:"
    if classes is None:
        first_columns, prefix = [conditions["image"]], "Each row: data;"
        if condition.shape[1:] == shape:
            c = _select_rows({"condition": condition})["condition"]
            first_columns = [np.where(c == HIDDEN, np.float32(0.5), c), *first_columns]
            prefix = "Each row: condition; data;"
    plots.save_grid(
        folder / "conditional_samples.png",
        with_columns(samples, *first_columns),
        samples.shape[1] + len(first_columns),
        title=f"{prefix} samples under one condition",
        row_labels=labels,
    )
    plots.save_grid(
        folder / "vary_latent.png",
        with_columns(walks, *first_columns),
        walks.shape[1] + len(first_columns),
        title=f"{prefix} varying z under a fixed condition",
        row_labels=labels,
    )
    plots.save_grid(
        folder / "vary_condition.png",
        with_columns(varied, examples["image"]),
        varied.shape[1] + 1,
        title="Each row: data; varying the condition at a fixed z",
        column_labels=["data", *labels] if labels else (),
    )
