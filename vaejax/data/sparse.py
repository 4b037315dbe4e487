"""Rows of a sparse matrix: only what is not zero is kept in memory; batches are dense."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

__all__ = ["SparseRows", "SparseTable", "compact", "sparse_rows"]

_CHUNK = 2**22  # stored values


class SparseRows(NamedTuple):
    """A matrix `[N, D]` in compressed rows (CSR).

    Attributes:
      values: those that are not zero, row by row, `[nnz]`.
      columns: of these values, int32 `[nnz]`.
      starts: of each row among the values, and their number, int64 `[N + 1]`.
      num_columns: D.
    """

    values: np.ndarray
    columns: np.ndarray
    starts: np.ndarray
    num_columns: int

    @property
    def size(self) -> int:
        """The number of rows."""
        return len(self.starts) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.values.nbytes + self.columns.nbytes + self.starts.nbytes

    def _positions(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the values of rows, and how many each row has."""
        first = self.starts[rows]
        counts = self.starts[rows + 1] - first
        shift = np.repeat(first - (np.cumsum(counts) - counts), counts)
        return shift + np.arange(counts.sum()), counts

    def dense(self, rows: np.ndarray) -> np.ndarray:
        """The rows `[B]` as an array `[B, D]`."""
        rows = np.asarray(rows, np.int64)
        positions, counts = self._positions(rows)
        result = np.zeros((len(rows), self.num_columns), self.values.dtype)
        result[np.repeat(np.arange(len(rows)), counts), self.columns[positions]] = self.values[
            positions
        ]
        return result

    def select(self, rows: np.ndarray) -> "SparseRows":
        """The matrix of these rows alone."""
        if len(rows) == self.size:
            return self
        positions, counts = self._positions(np.asarray(rows, np.int64))
        starts = np.concatenate([[0], np.cumsum(counts)])
        return SparseRows(self.values[positions], self.columns[positions], starts, self.num_columns)

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All values with their columns, in parts."""
        for start in range(0, len(self.values), _CHUNK):
            part = slice(start, start + _CHUNK)
            yield self.values[part], self.columns[part]

    def row_with(self, wrong: Callable[[np.ndarray], np.ndarray]) -> int | None:
        """The first row with a stored value for which `wrong` is true; None without one."""
        start = 0
        for values, _ in self.chunks():
            found = np.flatnonzero(wrong(values))
            if len(found):
                return int(np.searchsorted(self.starts, start + found[0], side="right")) - 1
            start += len(values)
        return None

    def moments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean, standard deviation and largest magnitude of each column, float64 `[D]`.

        In two passes over the values, so that large means do not hide small deviations.
        """
        n, d = self.size, self.num_columns
        total, stored, largest = np.zeros(d), np.zeros(d), np.zeros(d)
        for values, columns in self.chunks():
            real = values.astype(np.float64)
            total += np.bincount(columns, real, d)
            stored += np.bincount(columns, minlength=d)
            np.maximum.at(largest, columns, np.abs(real))
        mean = total / n
        squares = (n - stored) * np.square(mean)
        for values, columns in self.chunks():
            squares += np.bincount(columns, np.square(values - mean[columns]), d)
        return mean, np.sqrt(squares / n), largest


class SparseTable(NamedTuple):
    """The rows of a split whose `vector` is sparse.

    Attributes:
      vector: of all N examples.
      rest: the other fields, `[N, ...]` each.
    """

    vector: SparseRows
    rest: dict[str, np.ndarray]

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Dense rows, see `Source.take`."""
        rest = {name: value[indices] for name, value in self.rest.items()}
        return {"vector": self.vector.dense(indices), **rest}

    def select(self, positions: np.ndarray) -> "SparseTable":
        """The table of the examples at these positions."""
        rest = {name: value[positions] for name, value in self.rest.items()}
        return SparseTable(self.vector.select(positions), rest)

    def map(self, f: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> "SparseTable":
        """The table with its arrays replaced by those of `f(arrays by name)`."""
        rows = self.vector._asdict()
        return SparseTable(SparseRows(num_columns=rows.pop("num_columns"), **f(rows)), f(self.rest))


def compact(values: np.ndarray) -> np.ndarray:
    """Values in the smallest type that holds them: bytes or 16 bits for counts, else float32."""
    if values.dtype in (np.uint8, np.uint16):
        return values
    low, high, whole = 0.0, 0.0, True
    for start in range(0, len(values), _CHUNK):
        part = values[start : start + _CHUNK]
        low, high = min(low, float(part.min())), max(high, float(part.max()))
        whole = whole and (part.dtype.kind in "bui" or bool((part == np.floor(part)).all()))
    if whole and low >= 0 and high < 2**16:
        return values.astype(np.uint8 if high < 2**8 else np.uint16)
    return values.astype(np.float32, copy=False)


def sparse_rows(matrix: Any) -> SparseRows:
    """The rows of a sparse matrix of SciPy, of any format.

    Explicit zeros are removed, and values stored twice are added.

    Raises:
      ValueError: the matrix is inconsistent.
    """
    rows = matrix.tocsr()
    if rows is matrix:
        rows = rows.copy()
    rows.check_format(full_check=True)
    rows.sum_duplicates()
    rows.eliminate_zeros()
    return SparseRows(
        compact(rows.data),
        rows.indices.astype(np.int32, copy=False),
        rows.indptr.astype(np.int64, copy=False),
        rows.shape[1],
    )
