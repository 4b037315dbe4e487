"""Batches for the compiled step: gathered on the device, or prefetched from the host."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import numpy as np
from jax.sharding import Mesh

from vaejax.core.sharding import batch_sharding, put, replicated
from vaejax.data import Source
from vaejax.data.batches import training_indices
from vaejax.training.settings import Span

__all__ = ["BatchLoader", "StackedBatches"]

# Arrays [capacity, B, ...]: example indices if the source is resident, else its rows.
StackedBatches = dict[str, jax.Array]


class BatchLoader:
    """The training batches of (source, seed), loaded for one dispatch at a time.

    A source with `arrays` is copied to the devices once, and each dispatch gets only the indices of
    its examples. For any other source a thread reads the rows in advance. The batches are the same.

    Attributes:
      resident: whether the source is on the devices.
      data: the stored rows on the devices, or `{}`.
    """

    def __init__(
        self, source: Source, seed: int, batch_size: int, capacity: int, mesh: Mesh
    ) -> None:
        self._source, self._seed = source, seed
        self._batch_size, self._capacity = batch_size, capacity
        self._sharding = batch_sharding(mesh, leading=1)
        self.resident = source.arrays is not None
        self.data = put(replicated(mesh), source.arrays) if source.arrays is not None else {}

    def _indices(self, steps: Sequence[int]) -> np.ndarray:
        """Example indices of these steps, `[steps, ..., B]`."""
        source, size = self._source, self._batch_size
        return np.stack([training_indices(source, self._seed, s, size) for s in steps])

    def _load(self, span: Span) -> StackedBatches:
        start, stop = span
        steps = range(start, stop)
        indices = self._indices(steps)
        if self.resident:
            batches = {"index": indices}
        else:
            rows = self._source.take(indices.reshape(-1))
            batches = {k: v.reshape(*indices.shape, *v.shape[1:]) for k, v in rows.items()}
        # Padded to one shape for any number of steps, hence one compiled program.
        missing = self._capacity - len(steps)
        padded = {
            k: np.concatenate([v, np.zeros((missing, *v.shape[1:]), v.dtype)]) if missing else v
            for k, v in batches.items()
        }
        return put(self._sharding, padded)

    def batches(
        self, spans: Iterable[Span], prefetch: int = 2
    ) -> Iterator[tuple[Span, StackedBatches]]:
        """Each span of at most `capacity` steps with its batches, which a thread prefetches."""
        with ThreadPoolExecutor(1) as pool:
            queue: deque[tuple[Span, Future[StackedBatches]]] = deque()
            try:
                for span in spans:
                    queue.append((span, pool.submit(self._load, span)))
                    if len(queue) > prefetch:
                        first, future = queue.popleft()
                        yield first, future.result()
                while queue:
                    first, future = queue.popleft()
                    yield first, future.result()
            finally:
                for _, future in queue:
                    future.cancel()

    def rows(
        self, data: StackedBatches, batches: StackedBatches, *position: jax.Array
    ) -> dict[str, jax.Array]:
        """The stored rows of one batch; called inside the compiled step.

        Args:
          data: the attribute `data`, as an argument of the compiled step.
          batches: of the dispatch.
          *position: index of the batch along each leading axis of `batches`.
        """
        batch = dict(batches)
        for i in position:
            batch = {
                k: jax.lax.dynamic_index_in_dim(v, i, keepdims=False) for k, v in batch.items()
            }
        return {k: v[batch["index"]] for k, v in data.items()} if self.resident else batch

    def first_batch(self) -> dict[str, np.ndarray]:
        """The stored rows of batch 0, on the host."""
        return self._source.take(self._indices([0])[0])
