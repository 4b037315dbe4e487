"""Sparse matrices of SciPy as sources: from .npz files, or from Python."""

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vaejax.data.load_options import DEFAULT_MAX_BYTES, LoadOptions
from vaejax.data.readers import fields
from vaejax.data.readers.names import check_names, count_named_classes, read_names
from vaejax.data.readers.npz_file import check_size
from vaejax.data.readers.numbers import MAX_MAGNITUDE, column_label
from vaejax.data.row_storage import on_disk, process_share
from vaejax.data.source import Rows, Source, decoder, hold_out
from vaejax.data.sparse import SparseRows, SparseTable, sparse_rows

__all__ = ["check_sparse", "is_sparse", "read_sparse_npz", "source_of_sparse", "sparse_source"]


def read_sparse_npz(file: Path, *, max_bytes: int = DEFAULT_MAX_BYTES) -> SparseRows:
    """The matrix of a file that `scipy.sparse.save_npz` wrote.

    Args:
      file: its path.
      max_bytes: of its arrays in memory.

    Raises:
      ValueError: the file is damaged, or the matrix is not `[N, D]` of finite numbers.
    """
    import scipy.sparse

    try:
        check_size(file, set(), max_bytes)
        matrix = scipy.sparse.load_npz(io.BytesIO(file.read_bytes()))
        if matrix.ndim != 2 or 0 in matrix.shape:
            raise ValueError(f"a sparse matrix needs the shape [N, D], found {matrix.shape}")
        if matrix.dtype.kind not in "biuf":
            raise ValueError(f"a sparse matrix must hold numbers, found {matrix.dtype}")
        if 8 * (matrix.shape[0] + matrix.shape[1]) > max_bytes:
            raise ValueError(f"a sparse matrix of the shape {matrix.shape} is too large")
        rows = sparse_rows(matrix)
    except Exception as error:  # sizes and indices of a damaged file are arbitrary
        text = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"cannot read {file}: {text[:300]}") from error
    check_sparse(str(file), rows, None)
    return rows


def is_sparse(value: Any) -> bool:
    """Whether a value is a sparse matrix or array of SciPy."""
    sparse = sys.modules.get("scipy.sparse")  # before its import there is no such value
    return sparse is not None and bool(sparse.issparse(value))


def check_sparse(name: str, rows: SparseRows, names: tuple[str, ...] | None) -> None:
    """Raises ValueError for NaN, Inf, and values whose squares float32 cannot hold.

    Args:
      name: of the file or the array.
      rows: the matrix.
      names: of its columns.
    """
    for values, columns in rows.chunks():
        wrong = ~(np.abs(values) <= MAX_MAGNITUDE)  # NaN fails this too
        if wrong.any():
            at = int(np.argmax(wrong))
            raise ValueError(
                f"{name!r} must hold finite numbers up to {MAX_MAGNITUDE:g}, but "
                f"{column_label('vector', int(columns[at]), names)} holds {values[at]:.6g}"
            )


def sparse_source(
    rows: SparseRows, rest: Mapping[str, np.ndarray], options: LoadOptions, **fields: Any
) -> Source:
    """A split of sparse rows.

    Args:
      rows: of all examples.
      rest: other fields, as stored.
      options: `split`, `holdout`, and `max_resident_bytes`, beyond which the arrays are mapped
        files and no part of them is copied into memory.
      **fields: the other fields of `Source`.
    """
    positions = hold_out(rows.size, options.split, options.holdout)
    table = SparseTable(rows, dict(rest))
    given: dict[str, Any] = {
        "name": options.source, "split": options.split, "size": len(positions), "arrays": None,
        "decode": decoder(255.0), **fields,
    }  # fmt: skip
    if rows.nbytes > options.max_resident_bytes:
        return Source(take=_Streamed(table, positions), **given)
    table = table.select(positions)
    if table.vector.nbytes > process_share(options.max_resident_bytes):
        table = table.map(on_disk)
    return Source(take=table.take, sparse=table, **given)


def source_of_sparse(arrays: Mapping[str, Any], options: LoadOptions) -> Source:
    """A source of arrays among which a vector is a sparse matrix of SciPy.

    Raises:
      ValueError: other arrays are sparse, names define splits, or a value is not finite.
    """
    namings = read_names(arrays)
    parts = fields.by_split(arrays)
    if list(parts) != [""]:
        raise ValueError(
            f"a sparse matrix has no splits by name, found {sorted(arrays)}: give all rows as one "
            "array, of which data.holdout is held out"
        )
    named = parts[""]
    vector: tuple[str, Any] = named.pop("vector", ("", None))
    key, matrix = vector
    if not is_sparse(matrix):
        raise ValueError("of sparse arrays only 'vector' (or 'counts') is read")
    rest = {field: fields.validate(field, name, value) for field, (name, value) in named.items()}
    if matrix.ndim != 2 or 0 in matrix.shape or matrix.dtype.kind not in "biuf":
        raise ValueError(f"{key!r} must be numbers [N, D], found {matrix.dtype} {matrix.shape}")
    rows = sparse_rows(matrix)
    first = np.zeros((1, rows.num_columns), np.float32)
    check_names(namings, {"vector": first, **{k: v[:1] for k, v in rest.items()}})
    for field, value in rest.items():
        if len(value) != rows.size:
            raise ValueError(f"{key!r} has {rows.size} rows, but {field!r} has {len(value)}")
    check_sparse(key, rows, namings.get("column_names"))
    counts = fields.class_counts([rest])
    count_named_classes(counts, namings)
    return sparse_source(rows, rest, options, **counts, **namings)


class _Streamed:
    """`Source.take` of a part of a table that is larger than memory."""

    def __init__(self, table: SparseTable, positions: np.ndarray) -> None:
        self._table, self._positions = table, positions

    def __call__(self, indices: np.ndarray) -> Rows:
        return self._table.take(self._positions[indices])
