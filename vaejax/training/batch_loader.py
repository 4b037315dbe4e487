"""Batches for the compiled step: gathered on the device, or prefetched from the host."""

import contextlib
import functools
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vaejax.core.sharding import batch_sharding, own_positions, put, put_own, replicated
from vaejax.core.spread_rows import SpreadRows
from vaejax.data import Source
from vaejax.data.batches import training_indices
from vaejax.data.read_ahead import read_ahead
from vaejax.data.row_storage import process_share
from vaejax.data.source import DEFAULT_RESIDENT_BYTES, Rows
from vaejax.training.settings import Span

__all__ = ["BatchLoader", "StackedBatches"]

# Arrays [capacity, B, ...]: example indices if the source is resident, else its rows.
StackedBatches = dict[str, jax.Array]

_LAST = 2**40  # steps; more than any training has


class BatchLoader:
    """The training batches of (source, seed), loaded for one dispatch at a time.

    A source with `arrays` is copied to the devices once, and each dispatch gets only the indices of
    its examples. The rows of any other source are read in advance: by worker processes or threads
    if it has a `read`, else by one thread. The batches are the same.

    Each of several processes takes only its own rows of a batch, those on its devices. A source
    that is larger than its share of what one process may hold is spread over all devices, from
    which the compiled step gathers each batch: every process then takes a part of the source, once.

    Attributes:
      resident: whether the source is on the devices.
      data: the stored rows on the devices, or `{}`.
    """

    _rows_axis = 1  # of stacked batches
    _can_spread = True  # whether a source may be spread over the devices

    def __init__(
        self,
        source: Source,
        seed: int,
        batch_size: int,
        capacity: int,
        mesh: Mesh,
        sharding: NamedSharding | None = None,
    ) -> None:
        """Copies a source that fits to the devices.

        Args:
          source: training data.
          seed: of the order of the examples.
          batch_size: examples of a batch, of all processes.
          capacity: largest number of steps of a dispatch.
          mesh: the devices.
          sharding: of stacked batches; None for their rows over all devices.
        """
        self._source, self._seed = source, seed
        self._batch_size, self._capacity = batch_size, capacity
        self._sharding = batch_sharding(mesh, leading=1) if sharding is None else sharding
        self._own = own_positions(self._sharding, batch_size, self._rows_axis)
        large = source.spread or not _fits(source)
        self._spread: SpreadRows | None = None
        self.data: StackedBatches = {}
        if large and self._can_spread and (source.spread or source.arrays is not None):
            self._spread = SpreadRows(source.take, source.size, mesh)
            self.data = {"words": self._spread.words}
        elif not large and source.arrays is not None:
            self.data = put(replicated(mesh), source.arrays)
        self.resident = bool(self.data)

    def _indices_of_step(self) -> Callable[[int], np.ndarray]:
        """The indices of a step's own examples, `[..., n]`: a function that can be pickled."""
        return functools.partial(_indices, self._source, self._seed, self._batch_size, self._own)

    def _put(self, rows: Rows) -> StackedBatches:
        return put_own(self._sharding, rows, self._batch_size, self._rows_axis)

    def _load(self, ahead: Iterator[Rows] | None, span: Span) -> StackedBatches:
        steps = range(*span)
        if ahead is not None:
            return self._put(_stacked([next(ahead) for _ in steps], self._capacity))
        indices_of_step = self._indices_of_step()
        indices = np.stack([indices_of_step(step) for step in steps])
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
        return self._put(padded)

    def _read_ahead(self, start: int) -> Generator[Rows, None, None] | None:
        """The rows of all steps from a first one on; None for sources without a `read`."""
        read = self._source.read
        if self.resident or read is None:
            return None
        load = functools.partial(_rows_of_step, read, self._indices_of_step())
        return read_ahead(load, range(start, _LAST), self._source.workers)

    def shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes, dtypes and sharding of a dispatch's batches, of one process."""
        step = {"index": self._indices_of_step()(0)} if self.resident else self.first_batch()
        return {
            k: jax.ShapeDtypeStruct((self._capacity, *v.shape), v.dtype, sharding=self._sharding)
            for k, v in step.items()
        }

    def batches(
        self, spans: Iterable[Span], prefetch: int = 2
    ) -> Iterator[tuple[Span, StackedBatches]]:
        """Each of consecutive spans of at most `capacity` steps with its batches, prefetched."""
        spans = iter(spans)
        first_span = next(spans, None)
        if first_span is None:
            return
        ahead = self._read_ahead(first_span[0])
        with (
            contextlib.closing(ahead) if ahead else contextlib.nullcontext(),
            ThreadPoolExecutor(1) as pool,
        ):
            queue: deque[tuple[Span, Future[StackedBatches]]] = deque()
            try:
                for span in itertools.chain([first_span], spans):
                    queue.append((span, pool.submit(self._load, ahead, span)))
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
        if self._spread is not None:
            return self._spread.gather(data["words"], batch["index"])
        return {k: v[batch["index"]] for k, v in data.items()} if self.resident else batch

    def first_batch(self) -> dict[str, jax.Array]:
        """The stored rows of batch 0, `[..., B, ...]`, on the devices."""
        rows = _rows_of_step(self._source.take, self._indices_of_step(), 0)
        spec = PartitionSpec(*self._sharding.spec[1:])  # without the axis of steps
        sharding = NamedSharding(self._sharding.mesh, spec)
        return put_own(sharding, rows, self._batch_size, self._rows_axis - 1)


def _fits(source: Source) -> bool:
    """Whether every process may hold a copy of a source on its devices."""
    if source.arrays is None or jax.process_count() == 1:
        return source.arrays is not None
    size = sum(value.nbytes for value in source.arrays.values())
    return size <= process_share(DEFAULT_RESIDENT_BYTES)


def _indices(source: Source, seed: int, batch_size: int, own: np.ndarray, step: int) -> np.ndarray:
    return training_indices(source, seed, step, batch_size)[own]


def _rows_of_step(
    read: Callable[[np.ndarray], Rows], indices_of_step: Callable[[int], np.ndarray], step: int
) -> Rows:
    """The own stored rows of a step, `[..., n, ...]`."""
    indices = indices_of_step(step)
    rows = read(indices.reshape(-1))
    return {k: v.reshape(*indices.shape, *v.shape[1:]) for k, v in rows.items()}


def _stacked(batches: Sequence[Rows], capacity: int) -> Rows:
    """The batches of a dispatch, `[capacity, ...]`, with zeros after them."""
    stacked = {}
    for name, first in batches[0].items():
        stacked[name] = np.zeros((capacity, *first.shape), first.dtype)
        for number, batch in enumerate(batches):
            stacked[name][number] = batch[name]
    return stacked
