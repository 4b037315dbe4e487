"""From stored rows to the model's batch: decoding and augmentation inside the compiled step."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.conditions import HIDDEN
from vaejax.core.events import event_name
from vaejax.core.registry import near_names
from vaejax.core.rng import key_shape
from vaejax.core.types import Options, Setting
from vaejax.data.augment import Augmentation, augmenter
from vaejax.data.columns import class_counts_of
from vaejax.data.source import Batch, Source
from vaejax.data.standardize import standardization
from vaejax.data.values import fields_of

__all__ = [
    "BINARIZATIONS",
    "Prepare",
    "condition_shape",
    "dataset_info",
    "event_shape",
    "preparation",
]

Prepare = Callable[[Batch, jax.Array], Batch]


def _unchanged(image: jax.Array, key: jax.Array) -> jax.Array:
    del key
    return image


def _threshold(image: jax.Array, key: jax.Array) -> jax.Array:
    del key
    return (image > 0.5).astype(image.dtype)


def _dynamic(image: jax.Array, key: jax.Array) -> jax.Array:
    return jax.random.bernoulli(key, image).astype(image.dtype)


BINARIZATIONS: Mapping[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "none": _unchanged,
    "threshold": _threshold,
    "dynamic": _dynamic,
}


def _without_conditions(batch: Batch, key: jax.Array, rate: float) -> Batch:
    """The batch with the conditions of a random fraction of the examples removed."""
    n = len(next(iter(batch.values())))
    dropped = jax.random.bernoulli(key, rate, (n,))
    replaced = {}
    if "label" in batch:
        replaced["label"] = jnp.where(dropped, jnp.int32(-1), batch["label"])
    if "condition" in batch:
        c = batch["condition"]
        replaced["condition"] = jnp.where(dropped.reshape(n, *(1,) * (c.ndim - 1)), 0.0, c)
    return {**batch, **replaced}


def preparation(
    source: Source,
    binarize: str = "none",
    *,
    condition_dropout: float = 0.0,
    augment: Augmentation | None = None,
) -> Prepare:
    """The function `(stored rows, key) -> batch`: decoding, augmentation, binarisation, conditions.

    A batch with `hidden` and no `condition` gets a `condition`: the image with `HIDDEN` at the
    pixels where `hidden` is 1.

    Args:
      source: of the rows.
      binarize: `'none'`; `'threshold'`, at one half; or `'dynamic'`, a new Bernoulli sample with
        the grey level as its mean whenever an image is used (IWAE, 1509.00519, section 5.1).
      condition_dropout: fraction of the examples whose `label` becomes −1 (no class) and whose
        `condition` becomes zeros; for training only, so that the model can also generate without a
        condition. The examples are a function of the key.
      augment: random changes of examples; for training only. None for none.

    Raises:
      ValueError: unknown binarisation, a fraction outside [0, 1], or an augmentation that the data
        cannot have.
    """
    if binarize not in BINARIZATIONS:
        raise ValueError(f"unknown data.binarize {near_names(binarize, BINARIZATIONS)}")
    if not 0 <= condition_dropout <= 1:
        raise ValueError(f"data.condition_dropout must be in [0, 1], found {condition_dropout}")

    change = augmenter(augment, source) if augment and augment.changed else None

    def prepare(rows: Batch, key: jax.Array) -> Batch:
        batch = source.decode(rows)
        if change:
            batch = change(batch, jax.random.fold_in(key, 2))
        for name in ("image", "sequence"):
            if name in batch:
                batch = {**batch, name: BINARIZATIONS[binarize](batch[name], key)}
        if "hidden" in batch and "condition" not in batch:
            image = batch["image"]
            hidden = jnp.broadcast_to(batch["hidden"], image.shape) > 0
            batch = {**batch, "condition": jnp.where(hidden, HIDDEN, image)}
        if condition_dropout:
            batch = _without_conditions(batch, jax.random.fold_in(key, 1), condition_dropout)
        return batch

    return prepare


def event_shape(source: Source) -> tuple[int, ...]:
    """The shape of one example's event (see `events.EVENTS`) after decoding."""
    shapes = fields_of(source)
    return shapes[event_name(shapes)].shape[1:]


def condition_shape(batch: Options) -> tuple[int, ...] | None:
    """The shape of one `condition` of a batch, given its fields or their shapes; None without."""
    return tuple(batch["condition"].shape[1:]) if "condition" in batch else None


def dataset_info(source: Source) -> dict[str, Setting]:
    """The properties of the training data from which a family is built."""
    shapes = _batch_shapes(source)
    return {
        "examples": source.size,
        "classes": source.num_classes or 0,
        "tokens": source.num_tokens or 0,
        "layout": source.layout,
        "column_classes": class_counts_of(source.columns or ()),
        "standardization": standardization(source),
        "condition_shape": condition_shape(shapes),
        "batch_shapes": shapes,
    }


def _batch_shapes(source: Source) -> dict[str, Setting]:
    """Shapes and dtypes of a prepared batch of one example."""
    rows = source.take(np.zeros(1, np.int32))
    return dict(jax.eval_shape(preparation(source), rows, key_shape()))
