"""Functions of batches applied to any number of rows, in batches of one size."""

from collections.abc import Callable, Mapping

import jax
import numpy as np
from jax.sharding import Mesh

from vaejax.core.game import Latent, Params
from vaejax.core.sharding import batch_sharding, put
from vaejax.core.types import PyTree
from vaejax.distributions import is_discrete

__all__ = ["latent_values", "map_rows", "padded"]


def map_rows(
    compiled: Callable[..., PyTree],
    params: Params,
    rows: Mapping[str, np.ndarray],
    *,
    batch_size: int,
    mesh: Mesh,
    seed: int,
) -> PyTree:
    """The outputs `[N, ...]` of a compiled function for all rows `[N, ...]`.

    Args:
      compiled: `(params, rows [batch_size, ...], seed, number of the batch) -> tree of arrays`.
      params: of the model.
      rows: by name.
      batch_size: rows at once; the last batch is filled up.
      mesh: the devices.
      seed: of random keys.
    """
    n = len(next(iter(rows.values())))
    parts = []
    for number, start in enumerate(range(0, n, batch_size)):
        part = {k: padded(v[start : start + batch_size], batch_size) for k, v in rows.items()}
        on_devices = put(batch_sharding(mesh), part)
        result = compiled(params, on_devices, np.uint32(seed), np.uint32(number))
        parts.append(jax.tree.map(np.asarray, result))
    return jax.tree.map(lambda *each: np.concatenate(each)[:n], *parts)


def padded(rows: np.ndarray, size: int) -> np.ndarray:
    """Rows filled up to `size` with copies of the last one."""
    return np.concatenate([rows, np.repeat(rows[-1:], size - len(rows), axis=0)])


def latent_values(node: Latent) -> jax.Array:
    """What `encode` returns for a node encoded without a key: the most likely codes, or z."""
    return node.posterior.indices if is_discrete(node.posterior) else node.z
