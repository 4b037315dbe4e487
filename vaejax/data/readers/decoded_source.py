"""Sources of examples decoded by a reader: held in memory if they fit, else streamed."""

import functools
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from vaejax.data.progress import progress
from vaejax.data.read_ahead import chosen_workers, has_grain
from vaejax.data.readers.cache import load_or_build
from vaejax.data.source import DEFAULT_RESIDENT_BYTES, Rows, Source, in_memory

__all__ = ["digest_of", "from_reader"]

_CHUNK = 1024  # examples


def from_reader(
    read: Callable[[list[int]], Sequence[Rows]],
    positions: np.ndarray,
    *,
    count: int,
    row_bytes: int,
    threads: bool,
    label: str,
    identity: object,
    max_resident_bytes: int = DEFAULT_RESIDENT_BYTES,
    workers: int = 0,
    **fields: Any,
) -> Source:
    """A source whose stored examples a reader decodes.

    Args:
      read: decodes the stored examples at these indices, one dict of arrays each; thread-safe.
      positions: sorted distinct indices of the stored examples in the split.
      count: number of stored examples.
      row_bytes: bytes of one decoded example.
      threads: read in several threads, for decoding that releases the interpreter lock.
      label: prefix of the name of the cache file.
      identity: JSON value that changes whenever the decoded rows change.
      max_resident_bytes: up to this size all `count` rows are decoded once, cached and held in
        memory.
      workers: processes that read a streamed source; -1 for a choice by
        `chosen_workers`; 0 for threads.
      **fields: the other fields of `Source`.
    """
    if count * row_bytes > max_resident_bytes:
        if threads and has_grain(workers):
            fields["read"] = lambda indices: _stacked(read, positions[indices], False)
            fields["workers"] = chosen_workers(workers, row_bytes)
        return Source(
            size=len(positions),
            take=lambda indices: _stacked(read, positions[indices], threads),
            arrays=None,
            **fields,
        )
    rows = load_or_build(
        f"{label}-{digest_of(identity)}", lambda: _read_all(read, count, threads, fields["name"])
    )
    return in_memory(rows, positions, max_resident_bytes=max_resident_bytes, **fields)


def digest_of(identity: object) -> str:
    """16 characters that change whenever a JSON value does."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def _read_all(
    read: Callable[[list[int]], Sequence[Rows]], count: int, threads: bool, name: str
) -> Rows:
    """All rows, decoded in chunks into preallocated arrays."""
    rows: Rows = {}
    for start in progress(range(0, count, _CHUNK), f"decoding {name}"):
        chunk = _stacked(read, np.arange(start, min(start + _CHUNK, count)), threads)
        if not rows:
            rows = {
                field: np.empty((count, *value.shape[1:]), value.dtype)
                for field, value in chunk.items()
            }
        for field, value in chunk.items():
            rows[field][start : start + _CHUNK] = value
    return rows


def _stacked(
    read: Callable[[list[int]], Sequence[Rows]], indices: np.ndarray, threads: bool
) -> Rows:
    """Rows `[B, ...]` of the stored examples `[B]`."""
    if threads:
        parts = np.array_split(indices, min(len(indices), _workers()))
        examples = [row for part in _pool().map(read, [p.tolist() for p in parts]) for row in part]
    else:
        examples = list(read(indices.tolist()))
    rows = {}
    for field, first in examples[0].items():
        rows[field] = np.empty((len(examples), *first.shape), first.dtype)
        for number, example in enumerate(examples):
            rows[field][number] = example[field]
    return rows


def _workers() -> int:
    return min(32, os.cpu_count() or 1)


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_workers(), thread_name_prefix="vaejax-data")
