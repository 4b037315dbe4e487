"""The batches of several seeds, for the models of a sweep."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
from jax.sharding import Mesh

from vaejax.core.sharding import replicated
from vaejax.data import Source
from vaejax.data.batches import training_indices
from vaejax.training.batch_loader import BatchLoader

__all__ = ["MultiSeedLoader"]


class MultiSeedLoader(BatchLoader):
    """The batches of S seeds side by side, `[capacity, S, B, ...]`."""

    def __init__(
        self, source: Source, seeds: Sequence[int], batch_size: int, capacity: int, mesh: Mesh
    ) -> None:
        super().__init__(source, seeds[0], batch_size, capacity, mesh)
        self._seeds, self._sharding = list(seeds), replicated(mesh)

    def _indices_of_step(self) -> Callable[[int], np.ndarray]:
        return functools.partial(_indices, self._source, self._seeds, self._batch_size)

    def first_batch(self) -> dict[str, np.ndarray]:
        """The stored rows of batch 0 of every seed, `[S, B, ...]`, on the host."""
        indices = self._indices_of_step()(0)
        rows = self._source.take(indices.reshape(-1))
        return {k: v.reshape(*indices.shape, *v.shape[1:]) for k, v in rows.items()}


def _indices(source: Source, seeds: Sequence[int], batch_size: int, step: int) -> np.ndarray:
    """Example indices of a step of every seed, `[S, B]`."""
    return np.stack([training_indices(source, seed, step, batch_size) for seed in seeds])
