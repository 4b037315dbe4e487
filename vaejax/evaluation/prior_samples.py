"""Samples from a prior, generated in batches of bounded size."""

from collections.abc import Callable

import jax
import numpy as np

from vaejax.core.game import Batch, Params
from vaejax.core.types import PyTree

__all__ = ["sample_means"]

_BATCH = 128  # samples at once


def sample_means(
    generate: Callable[..., PyTree],
    params: Params,
    count: int,
    *,
    seed: int = 0,
    conditions: Batch | None = None,
) -> np.ndarray:
    """Means of p(x | z) at `count` samples of z, `[count, ...]`.

    Args:
      generate: `(params, key, n, conditions) -> p(x | z)` of n samples, as of a model.
      params: of the model.
      count: number of samples.
      seed: of the samples.
      conditions: of the samples, a batch of `count` rows; None for an unconditional model.
    """
    size = min(_BATCH, count)
    compiled = jax.jit(lambda params, key, part: generate(params, key, size, part).mean)
    parts = []
    for start in range(0, count, size):
        rows = np.arange(start, start + size) % count
        part: PyTree = conditions and {k: np.asarray(v)[rows] for k, v in conditions.items()}
        parts.append(np.asarray(compiled(params, jax.random.key(seed + start), part)))
    return np.concatenate(parts)[:count]
