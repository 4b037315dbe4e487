"""Rows of a table as files with named columns: CSV, and Parquet where pyarrow is installed."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vaejax.core.files import replacing
from vaejax.data.columns import Column
from vaejax.data.columns import named_columns as columns_by_name

__all__ = ["named_columns", "write_csv", "write_parquet"]

_MAX_INTEGER = 2.0**53


def named_columns(
    rows: np.ndarray, names: Sequence[str] | None, columns: Sequence[Column] | None = None
) -> dict[str, np.ndarray]:
    """Name -> column `[N]` of rows `[N, D]`.

    Columns that hold whole numbers alone, as samples of counts and of classes do, are int64; all
    others float32. Categories have their names.

    Args:
      rows: of a table.
      names: of its columns; None for `column_0`, `column_1`, ...
      columns: of a table with categories, see `Source.columns`.
    """
    if columns:
        table = columns_by_name(columns, rows)
        return {k: _as_integers(v) if v.dtype.kind == "f" else v for k, v in table.items()}
    names = names or [f"column_{i}" for i in range(rows.shape[1])]
    return {name: _as_integers(rows[:, i]) for i, name in enumerate(names)}


def _as_integers(column: np.ndarray) -> np.ndarray:
    whole = np.isfinite(column) & (column == np.floor(column)) & (np.abs(column) <= _MAX_INTEGER)
    return column.astype(np.int64) if whole.all() else column


def write_csv(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Writes a CSV file with a header. Numbers have all digits of their type.

    Raises:
      WriteError: it cannot be written.
    """
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*(map(str, column) for column in columns.values()), strict=True))


def write_parquet(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Writes a Parquet file.

    Raises:
      ImportError: pyarrow is missing; it is in the extra `tables`.
      WriteError: it cannot be written.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError("Parquet files need pyarrow: pip install 'vaejax[tables]'") from error
    arrays: dict[str, Any] = {name: pyarrow.array(column) for name, column in columns.items()}
    with replacing(path) as temporary:
        parquet.write_table(pyarrow.table(arrays), temporary)
