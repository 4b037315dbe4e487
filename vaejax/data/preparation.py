"""What is done to a batch between its source and the model, inside the compiled step."""

from collections.abc import Callable, Mapping

import jax
import numpy as np

from vaejax.data.source import Batch, Source
from vaejax.settings import near_names

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


def preparation(source: Source, binarize: str = "none") -> Prepare:
    """`(stored rows, key) -> batch`: decoding, then binarisation of images.

    Args:
      source: whose rows.
      binarize: `'none'`; `'threshold'`, at one half; or `'dynamic'`, a fresh Bernoulli draw with
        the grey level as its mean whenever an image is used (IWAE, 1509.00519, section 5.1).

    Raises:
      ValueError: an unknown binarisation.
    """
    if binarize not in BINARIZATIONS:
        raise ValueError(f"unknown data.binarize {near_names(binarize, BINARIZATIONS)}")

    def prepare(rows: Batch, key: jax.Array) -> Batch:
        batch = source.decode(rows)
        for name in ("image", "sequence"):
            if name in batch:
                batch = {**batch, name: BINARIZATIONS[binarize](batch[name], key)}
        return batch

    return prepare


def event_shape(source: Source) -> tuple[int, ...]:
    """The shape of one example's image, vector or sequence, as the model sees it."""
    rows = source.take(np.zeros(1, np.int32))
    batch = jax.eval_shape(source.decode, rows)
    return next(batch[k].shape[1:] for k in ("image", "vector", "sequence") if k in batch)
