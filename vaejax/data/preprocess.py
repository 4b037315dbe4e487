"""What is done to a batch between its source and the model, inside the compiled step."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.conditions import HIDDEN
from vaejax.core.events import event
from vaejax.core.registry import near_names
from vaejax.data.source import Batch, Source

Prepare = Callable[[Batch, jax.Array], Batch]


def _grey(image: jax.Array, key: jax.Array) -> jax.Array:
    del key
    return image


def _threshold(image: jax.Array, key: jax.Array) -> jax.Array:
    del key
    return (image > 0.5).astype(image.dtype)


def _dynamic(image: jax.Array, key: jax.Array) -> jax.Array:
    return jax.random.bernoulli(key, image).astype(image.dtype)


BINARIZATIONS: Mapping[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "none": _grey,
    "threshold": _threshold,
    "dynamic": _dynamic,
}


def _without_conditions(batch: Batch, key: jax.Array, rate: float) -> Batch:
    """The batch in which a share of the examples has lost its conditions."""
    n = len(next(iter(batch.values())))
    dropped = jax.random.bernoulli(key, rate, (n,))
    gone = {}
    if "label" in batch:
        gone["label"] = jnp.where(dropped, jnp.int32(-1), batch["label"])
    if "condition" in batch:
        c = batch["condition"]
        gone["condition"] = jnp.where(dropped.reshape(n, *(1,) * (c.ndim - 1)), 0.0, c)
    return {**batch, **gone}


def preparation(
    source: Source, binarize: str = "none", *, condition_dropout: float = 0.0
) -> Prepare:
    """`(stored rows, key) -> batch`: decoding, binarisation of images, conditions.

    A batch with a `mask` and no `condition` gets one: the image with `HIDDEN` in the place of the
    pixels that are to be explained.

    Args:
      source: whose rows.
      binarize: `'none'`; `'threshold'`, at one half; or `'dynamic'`, a fresh Bernoulli draw with
        the grey level as its mean whenever an image is used (IWAE, 1509.00519, section 5.1).
      condition_dropout: share of the examples that lose `label` (it becomes −1, no class) and
        `condition` (it becomes zeros), for training alone: a model that has seen it can also
        generate without a condition. Which examples do is a function of the key.

    Raises:
      ValueError: an unknown binarisation, or a share outside [0, 1].
    """
    if binarize not in BINARIZATIONS:
        raise ValueError(f"unknown data.binarize {near_names(binarize, BINARIZATIONS)}")
    if not 0 <= condition_dropout <= 1:
        raise ValueError(f"data.condition_dropout must be in [0, 1], found {condition_dropout}")

    def prepare(rows: Batch, key: jax.Array) -> Batch:
        batch = source.decode(rows)
        for name in ("image", "sequence"):
            if name in batch:
                batch = {**batch, name: BINARIZATIONS[binarize](batch[name], key)}
        if "mask" in batch and "condition" not in batch:
            image = batch["image"]
            hidden = jnp.broadcast_to(batch["mask"], image.shape) > 0
            batch = {**batch, "condition": jnp.where(hidden, HIDDEN, image)}
        if condition_dropout:
            batch = _without_conditions(batch, jax.random.fold_in(key, 1), condition_dropout)
        return batch

    return prepare


def event_shape(source: Source) -> tuple[int, ...]:
    """The shape of one example's event (see `events.EVENTS`), as the model sees it."""
    rows = source.take(np.zeros(1, np.int32))
    batch = jax.eval_shape(source.decode, rows)
    return event(batch).shape[1:]


def facts(source: Source) -> dict[str, Any]:
    """What families may want to know of their training data: see `families.build`."""
    return {
        "examples": source.size,
        "classes": source.num_classes or 0,
        "tokens": source.num_tokens or 0,
        "layout": source.layout,
    }
