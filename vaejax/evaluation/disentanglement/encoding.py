"""The codes of a whole split, and with them the examples that share a factor."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Batch
from vaejax.data import Source
from vaejax.data.batches import eval_batches
from vaejax.data.preprocess import preparation

Encode = Callable[[Batch], jax.Array]


def check_factors(source: Source) -> None:
    """Raises ValueError unless the examples of a source come with factors."""
    if not source.factor_sizes:
        raise ValueError(
            f"{source.name!r} has no factors, which measures of disentanglement need: use sprites, "
            "or an .npz file with an array 'factors'"
        )


def encode_split(
    encode: Encode,
    source: Source,
    key: jax.Array | None = None,
    *,
    batch_size: int = 256,
    binarize: str = "none",
) -> tuple[np.ndarray, np.ndarray]:
    """Codes float32 `[N, D]` and factors int32 `[N, K]` of a split, in `eval_order`: a random one.

    Args:
      encode: batch -> codes `[B, D]`, as posterior means. A `jax.tree_util.Partial` has its
        parameters passed to the compiled program; those of another function become constants.
      source: the split, with factors.
      key: of the draws of binarised images; None for a fixed one.
      batch_size: examples at once.
      binarize: as in training.

    Raises:
      ValueError: the source has no factors, or the codes are no vectors.
    """
    check_factors(source)
    prepare = preparation(source, binarize)
    key = jax.random.key(0) if key is None else key
    if not isinstance(encode, jax.tree_util.Partial):
        encode = jax.tree_util.Partial(encode)

    @jax.jit
    def part(encode: Any, rows: Any, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        batch = prepare(rows, key)
        return encode(batch), batch["factors"]

    pieces = []
    for number, (indices, counts) in enumerate(eval_batches(source.size, batch_size)):
        step = jax.random.fold_in(key, jnp.uint32(number))
        found = part(encode, source.take(indices), step)
        if found[0].ndim != 2:
            raise ValueError(f"encode must give codes [B, D], found shape {found[0].shape}")
        pieces.append(tuple(np.asarray(a)[counts] for a in found))
    codes, factors = (np.concatenate(column) for column in zip(*pieces, strict=True))
    return codes, factors
