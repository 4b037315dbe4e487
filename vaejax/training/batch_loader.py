"""Rows on their way to the compiled step: indexed on the device, or streamed ahead of it."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import numpy as np
from jax.sharding import Mesh

from vaejax.core.sharding import batch_sharding, put, replicated
from vaejax.data import Source
from vaejax.data.batches import batch_indices
from vaejax.training.settings import Span

Chunk = dict[str, jax.Array]  # [capacity, B, ...]: indices of a resident source, rows of another


class Feed:
    """The training batches of (source, seed), a chunk of steps at a time.

    A source that is resident lives on the devices, whole, and a chunk is its examples' indices;
    of any other a chunk is the rows themselves, read ahead in a thread. The batches are the same.
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
        """Indices of the examples of these steps, `[steps, ..., B]`."""
        size = self._source.size
        return np.stack([batch_indices(self._seed, s, size, self._batch_size) for s in steps])

    def _load(self, span: Span) -> Chunk:
        start, stop = span
        steps = range(start, stop)
        indices = self._indices(steps)
        if self.resident:
            chunk = {"index": indices}
        else:
            rows = self._source.take(indices.reshape(-1))
            chunk = {k: v.reshape(*indices.shape, *v.shape[1:]) for k, v in rows.items()}
        # One shape whatever the number of steps, hence one compiled program.
        missing = self._capacity - len(steps)
        padded = {
            k: np.concatenate([v, np.zeros((missing, *v.shape[1:]), v.dtype)]) if missing else v
            for k, v in chunk.items()
        }
        return put(self._sharding, padded)

    def chunks(self, spans: Sequence[Span], ahead: int = 2) -> Iterator[tuple[Span, Chunk]]:
        """The chunk of each span of at most `capacity` steps, loaded ahead in a thread."""
        with ThreadPoolExecutor(1) as pool:
            queue: deque[tuple[Span, Future[Chunk]]] = deque()
            try:
                for span in spans:
                    queue.append((span, pool.submit(self._load, span)))
                    if len(queue) > ahead:
                        first, chunk = queue.popleft()
                        yield first, chunk.result()
                while queue:
                    first, chunk = queue.popleft()
                    yield first, chunk.result()
            finally:
                for _, chunk in queue:
                    chunk.cancel()

    def rows(self, data: Chunk, chunk: Chunk, *where: jax.Array) -> dict[str, jax.Array]:
        """The stored rows of the chunk's batch there, inside the compiled step."""
        here = dict(chunk)
        for i in where:
            here = {k: jax.lax.dynamic_index_in_dim(v, i, keepdims=False) for k, v in here.items()}
        return {k: v[here["index"]] for k, v in data.items()} if self.resident else here

    def first(self) -> dict[str, np.ndarray]:
        """The stored rows of batch 0, on the host."""
        return self._source.take(batch_indices(self._seed, 0, self._source.size, self._batch_size))
