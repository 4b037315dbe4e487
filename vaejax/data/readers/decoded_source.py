"""Sources of examples decoded by a reader: held in memory if they fit, else streamed."""

import functools
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable
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
    read: Callable[[list[int]], Iterable[Rows]],
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
      read: decodes the stored examples at these indices one after another, a dict of arrays each;
        thread-safe.
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
    read: Callable[[list[int]], Iterable[Rows]], count: int, threads: bool, name: str
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
    read: Callable[[list[int]], Iterable[Rows]], indices: np.ndarray, threads: bool
) -> Rows:
    """Rows `[B, ...]` of the stored examples `[B]`."""
    stack = _Stack(len(indices))
    if threads:
        parts = np.array_split(indices, min(len(indices), _workers()))
        starts = np.cumsum([0, *(len(part) for part in parts[:-1])]).tolist()
        examples = [read(part.tolist()) for part in parts]
        list(_pool().map(stack.fill, starts, examples))  # raises what a thread has raised
    else:
        stack.fill(0, read(indices.tolist()))
    return stack.rows


class _Stack:
    """Arrays `[B, ...]` into which examples are copied one by one.

    Examples that are all kept until they are stacked would take new memory for each, which costs a
    fifth of decoding a JPEG file of 128 × 128 pixels (measured beside other load).
    """

    def __init__(self, size: int) -> None:
        self.rows: Rows = {}
        self._size, self._lock = size, threading.Lock()

    def fill(self, start: int, examples: Iterable[Rows]) -> None:
        """Copies examples to the rows from `start` on."""
        for number, example in enumerate(examples, start):
            if number == start:
                self._allocate(example)
            for field, value in example.items():
                self.rows[field][number] = value

    def _allocate(self, example: Rows) -> None:
        with self._lock:
            if not self.rows:
                self.rows = {
                    field: np.empty((self._size, *value.shape), value.dtype)
                    for field, value in example.items()
                }


def _workers() -> int:
    return min(32, os.cpu_count() or 1)


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_workers(), thread_name_prefix="vaejax-data")
