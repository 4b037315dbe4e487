"""The values of a field as a model sees them, read on the host in chunks."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from vaejax.core.events import EVENTS
from vaejax.core.types import PyTree
from vaejax.data.source import Source

__all__ = ["Range", "chunks", "fields_of", "range_of"]

_CHUNK = 4096  # examples
_CHUNK_BYTES = 2**24  # of decoded examples
# Read of a split that is not in memory, or has rows of another form: examples, and their bytes.
_SAMPLE, _SAMPLE_BYTES = 2**15, 2**26
_BINARY = np.array([[0.0], [1.0]], np.float32)


class Range(NamedTuple):
    """What a field holds.

    Attributes:
      low: the smallest value.
      high: the largest.
      integers: whether all values are whole numbers.
      exact: whether every example was read, not a sample of them.
    """

    low: float
    high: float
    integers: bool
    exact: bool


def fields_of(source: Source) -> PyTree:
    """Name -> shape and dtype of each decoded field of one example, computed without decoding."""
    return jax.eval_shape(source.decode, source.take(np.zeros(1, np.int32)))


def is_stored_plainly(source: Source, field: str) -> bool:
    """Whether the split is in memory with this field as an array of the decoded shape."""
    if source.arrays is None and not source.spread:
        return False
    stored = source.take(np.zeros(1, np.int32))
    return field in stored and stored[field].shape[1:] == fields_of(source)[field].shape[1:]


def chunks(
    source: Source, field: str, binarize: str = "none", *, missing: float = 0.0
) -> Iterator[np.ndarray]:
    """Decoded values `[n, ...]` of a field, all of them if the split is in memory.

    Of images stored as bytes each distinct value occurs once, `[256, 1]` at most. Of a split that
    is not in memory, or whose rows are packed, an evenly spread sample of examples is read.

    Args:
      source: the split.
      field: of a decoded batch.
      binarize: as in training: binarised images hold zeros and ones.
      missing: in place of values of the event that are not in the `mask` of a batch.
    """
    if field in ("image", "sequence") and binarize != "none":
        yield _BINARY
        return
    plain = is_stored_plainly(source, field)
    if field in ("image", "sequence") and plain and _stored_type(source, field) == np.uint8:
        yield _distinct_bytes(source, field)
        return
    count = source.size if plain else min(source.size, _sample(source, field))
    positions = np.unique(np.linspace(0, source.size - 1, count).astype(np.int64))
    size = max(1, min(_CHUNK, _CHUNK_BYTES // _row_bytes(source, field), len(positions)))
    # Plain rows are decoded by NumPy alone; of others JAX would compile each operation by itself.
    decode: PyTree = source.decode if plain else jax.jit(_only(source, (field, "mask")))
    for start in range(0, len(positions), size):
        chosen = positions[start : start + size]
        # All chunks have one shape, for which the decoding is compiled.
        rows: PyTree = source.take(np.resize(chosen, size))
        batch = {name: np.asarray(value)[: len(chosen)] for name, value in decode(rows).items()}
        values = batch[field]
        if "mask" in batch and field in EVENTS:
            mask = batch["mask"]
            mask = mask.reshape(*mask.shape, *(1,) * (values.ndim - mask.ndim))
            values = np.where(mask, values, values.dtype.type(missing))
        yield values


def _only(source: Source, names: tuple[str, ...]) -> Callable[[PyTree], PyTree]:
    """The decoding of a source, of these fields of a batch alone."""
    return lambda rows: {k: v for k, v in source.decode(rows).items() if k in names}


def _row_bytes(source: Source, field: str) -> int:
    spec = fields_of(source)[field]
    return max(1, math.prod(spec.shape[1:]) * spec.dtype.itemsize)


def _sample(source: Source, field: str) -> int:
    """The number of examples that are read of a split in another form than the decoded one."""
    return max(1, min(_SAMPLE, _SAMPLE_BYTES // _row_bytes(source, field)))


def _stored_type(source: Source, field: str) -> np.dtype:
    return source.take(np.zeros(1, np.int32))[field].dtype


def _stored(source: Source, field: str, rows: slice) -> np.ndarray:
    """Consecutive stored values of a split in memory."""
    if source.arrays is not None:
        return source.arrays[field][rows]
    return source.take(np.arange(source.size)[rows])[field]


def _distinct_bytes(source: Source, field: str) -> np.ndarray:
    """The distinct decoded values `[n, 1]` of pixels that are stored as bytes."""
    counts = np.zeros(256, np.int64)
    for start in range(0, source.size, _CHUNK):
        stored = _stored(source, field, slice(start, start + _CHUNK))
        counts += np.bincount(stored.reshape(-1), minlength=256)
    values = np.flatnonzero(counts).astype(np.uint8)
    rows: PyTree = source.take(np.zeros(1, np.int32))
    shape = rows[field].shape
    images: list[PyTree] = [np.full(shape, value, np.uint8) for value in values]
    decoded = [np.asarray(source.decode({**rows, field: image})[field]) for image in images]
    return np.array([image.reshape(-1)[:1] for image in decoded])


def range_of(source: Source, field: str, binarize: str = "none") -> Range:
    """The range of a field over a split, see `chunks`."""
    low, high, integers = np.inf, -np.inf, True
    for values in chunks(source, field, binarize):
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        integers = integers and bool((values == np.floor(values)).all())
    exact = (
        is_stored_plainly(source, field)
        or source.size <= _sample(source, field)
        or binarize != "none"
    )
    return Range(low, high, integers, exact)
