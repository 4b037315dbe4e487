"""The batches of several seeds, for the models of a sweep."""

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from vaejax.core.sharding import batch_sharding, replicated
from vaejax.data import Source
from vaejax.data.batches import training_indices
from vaejax.training.batch_loader import BatchLoader

__all__ = ["MultiSeedLoader", "rows_of_all_models"]


class MultiSeedLoader(BatchLoader):
    """The batches of S seeds side by side, `[capacity, S, B, ...]`.

    Every device needs all rows, since it has models of its own. Each of several processes takes a
    part of them, and the compiled program gathers them. A source that is larger than the share of a
    process is therefore not kept on the devices.
    """

    _rows_axis = 2
    _can_spread = False

    def __init__(
        self, source: Source, seeds: Sequence[int], batch_size: int, capacity: int, mesh: Mesh
    ) -> None:
        rows = rows_of_all_models(mesh, leading=2)
        super().__init__(source, seeds[0], batch_size, capacity, mesh, rows)
        self._seeds = list(seeds)

    def _indices_of_step(self) -> Callable[[int], np.ndarray]:
        return functools.partial(_indices, self._source, self._seeds, self._batch_size, self._own)


def rows_of_all_models(mesh: Mesh, leading: int = 0) -> NamedSharding:
    """The sharding of rows as they are read, before every device gets all of them.

    Args:
      mesh: the devices.
      leading: number of axes before that of the rows.
    """
    return replicated(mesh) if jax.process_count() == 1 else batch_sharding(mesh, leading)


def _indices(
    source: Source, seeds: Sequence[int], batch_size: int, own: np.ndarray, step: int
) -> np.ndarray:
    """Indices of a step's own examples of every seed, `[S, n]`."""
    return np.stack([training_indices(source, seed, step, batch_size)[own] for seed in seeds])
