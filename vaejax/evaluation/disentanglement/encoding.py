"""Encodes a whole split into codes and factors."""

from collections.abc import Callable

import jax
import numpy as np

from vaejax.core.game import Batch
from vaejax.core.types import PyTree
from vaejax.data import Source
from vaejax.data.map_split import rows_of_split
from vaejax.data.preprocess import preparation

__all__ = ["NO_FACTORS", "Encode", "encode_split"]

Encode = Callable[[Batch], jax.Array]
Codes = tuple[np.ndarray, np.ndarray]

NO_FACTORS = (
    "{!r} has no factors, which disentanglement metrics need: use sprites, or an .npz file with an "
    "array 'factors'"
)


def encode_split(
    encode: Encode,
    source: Source,
    key: jax.Array | None = None,
    *,
    batch_size: int = 256,
    binarize: str = "none",
) -> Codes:
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
    if not source.factor_sizes:
        raise ValueError(NO_FACTORS.format(source.name))
    prepare = preparation(source, binarize)
    key = jax.random.key(0) if key is None else key
    if not isinstance(encode, jax.tree_util.Partial):
        encode = jax.tree_util.Partial(encode)

    @jax.jit
    def encode_batch(encode: Encode, rows: PyTree, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        batch = prepare(rows, key)
        codes = encode(batch)
        if codes.ndim != 2:
            raise ValueError(f"encode must return codes [B, D], found shape {codes.shape}")
        return codes, batch["factors"]

    def program(rows: PyTree, mask: PyTree, number: np.uint32) -> tuple[jax.Array, jax.Array]:
        del mask
        return encode_batch(encode, rows, jax.random.fold_in(key, number))

    codes: Codes = rows_of_split(program, source, batch_size)
    return codes
