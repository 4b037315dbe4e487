"""What a conditional model is given beside x: a class, a vector or an image, read off the batch."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vaejax.core.game import Batch

HIDDEN = -1.0  # what a condition of pixels in [0, 1] holds where they are to be explained


class Condition(NamedTuple):
    """How to read a condition.

    Attributes:
      read: batch -> condition `[B, D]` or `[B, H, W, C]`, float32.
      absent: n -> the condition that stands for none, `[n, ...]`; what condition dropout gives.
    """

    read: Callable[[Batch], jax.Array]
    absent: Callable[[int], jax.Array]


def label(classes: int) -> Condition:
    """The class `label` int32 `[B]` as a one-hot vector; −1, no class, as zeros.

    Raises:
      ValueError: the number of classes is not positive, or a batch has no labels.
    """
    if classes < 1:
        raise ValueError("a condition on labels needs data with classes, or model.classes")

    def read(batch: Batch) -> jax.Array:
        if "label" not in batch:
            raise ValueError(f"a condition on labels needs 'label', the batch has {sorted(batch)}")
        return jax.nn.one_hot(batch["label"], classes)

    return Condition(read, lambda n: jnp.zeros((n, classes)))


def array(shape: tuple[int, ...], name: str = "condition") -> Condition:
    """The array of this name in the batch, `[B, *shape]`, as float32.

    Raises:
      ValueError: a batch does not have it, or in another shape.
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


def completed(condition: jax.Array, guess: jax.Array) -> jax.Array:
    """The condition with a guess, of its shape, in the place of what is `HIDDEN`."""
    return jnp.where(condition == HIDDEN, guess, condition)


def condition(name: str, *, classes: int = 0, shape: Sequence[int] = ()) -> Condition:
    """The condition of this name: `'label'`, or an array of the batch.

    Args:
      name: of it in the batch.
      classes: of a label.
      shape: of one example of anything else.

    Raises:
      ValueError: as `label` does.
    """
    return label(classes) if name == "label" else array(tuple(shape), name)
