"""Encodes a whole split into codes and factors."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Batch
from vaejax.data import Source
from vaejax.data.batches import eval_batches
from vaejax.data.preprocess import preparation

__all__ = ["Encode", "check_factors", "encode_split"]

Encode = Callable[[Batch], jax.Array]


def check_factors(source: Source) -> None:
    """Raises ValueError unless the examples of a source come with factors."""
    if not source.factor_sizes:
        raise ValueError(
            f"{source.name!r} has no factors, which disentanglement metrics need: use sprites, or "
            "an .npz file with an array 'factors'"
        )


def encode_split(
    encode: Encode,
    source: Source,
    key: jax.Array | None = None,
    *,
    batch_size: int = 256,
    binarize: str = "none",
) -> tuple[np.ndarray, np.ndarray]:
    """Codes float32 `[N, D]` and factors int32 `[N, K]` of a split, in the random `eval_order`.

    Args:
      encode: batch -> codes `[B, D]`, such as posterior means. A `jax.tree_util.Partial` has its
        parameters passed to the compiled program; those of another function become constants.
      source: the split, with factors.
      key: of the binarisation of images; None for a fixed one.
      batch_size: examples at once.
      binarize: as in training.

    Raises:
      ValueError: the source has no factors, or the codes are not vectors.
    """
    check_factors(source)
    prepare = preparation(source, binarize)
    key = jax.random.key(0) if key is None else key
    if not isinstance(encode, jax.tree_util.Partial):
        encode = jax.tree_util.Partial(encode)

    @jax.jit
    def encode_batch(encode: Any, rows: Any, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        batch = prepare(rows, key)
        return encode(batch), batch["factors"]

    parts = []
    for number, (indices, mask) in enumerate(eval_batches(source.size, batch_size)):
        batch_key = jax.random.fold_in(key, jnp.uint32(number))
        encoded = encode_batch(encode, source.take(indices), batch_key)
        if encoded[0].ndim != 2:
            raise ValueError(f"encode must return codes [B, D], found shape {encoded[0].shape}")
        parts.append(tuple(np.asarray(a)[mask] for a in encoded))
    codes, factors = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return codes, factors
