"""The conditions of conditional models: a class, a vector or an image, read from the batch."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vaejax.core.game import Batch

__all__ = ["HIDDEN", "Condition", "array", "condition", "fill_hidden", "label"]

HIDDEN = -1.0  # marks the pixels that a condition of pixels in [0, 1] does not show


class Condition(NamedTuple):
    """How a condition is read from a batch.

    Attributes:
      read: batch -> condition `[B, D]` or `[B, H, W, C]`, float32.
      absent: n -> the value `[n, ...]` for examples without a condition, as condition dropout sets.
    """

    read: Callable[[Batch], jax.Array]
    absent: Callable[[int], jax.Array]


def label(classes: int) -> Condition:
    """The field `label`, int32 `[B]`, as one-hot vectors; zeros for −1, which means no class.

    Any other number outside of the classes gives NaN, since a compiled program cannot raise: it
    must not pass for "no class".

    Raises:
      ValueError: the number of classes is not positive; a batch without labels.
    """
    if classes < 1:
        raise ValueError("a condition on labels needs data with classes, or model.classes")

    def read(batch: Batch) -> jax.Array:
        if "label" not in batch:
            raise ValueError(f"a condition on labels needs 'label', the batch has {sorted(batch)}")
        label = batch["label"]
        known = (label >= -1) & (label < classes)
        return jnp.where(known[:, None], jax.nn.one_hot(label, classes), jnp.nan)

    return Condition(read, lambda n: jnp.zeros((n, classes)))


def array(shape: tuple[int, ...], name: str = "condition") -> Condition:
    """The field of this name, `[B, *shape]`, as float32.

    Raises:
      ValueError: a batch without this field, or with another shape of it.
    """

    def read(batch: Batch) -> jax.Array:
        if name not in batch:
            raise ValueError(f"the condition {name!r} is missing: the batch has {sorted(batch)}")
        if batch[name].shape[1:] != tuple(shape):
            raise ValueError(
                f"the condition {name!r} should have shape (B, {', '.join(map(str, shape))}), "
                f"found {batch[name].shape}"
            )
        return batch[name].astype(jnp.float32)

    return Condition(read, lambda n: jnp.zeros((n, *shape)))


def fill_hidden(condition: jax.Array, prediction: jax.Array) -> jax.Array:
    """The condition with its `HIDDEN` elements replaced by a prediction of the same shape."""
    return jnp.where(condition == HIDDEN, prediction, condition)


def condition(name: str, *, classes: int = 0, shape: Sequence[int] = ()) -> Condition:
    """The condition read from a field of the batch: `'label'`, or any other array.

    Args:
      name: the field.
      classes: number of classes of a label.
      shape: of one example, for any other field.

    Raises:
      ValueError: as `label` does.
    """
    return label(classes) if name == "label" else array(tuple(shape), name)
