"""The columns of a table: which are numbers and which are categories, and their names."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vaejax.core.registry import near_names
from vaejax.core.types import Options, PyTree, Setting

__all__ = [
    "DTYPES",
    "Column",
    "TableForm",
    "check_stored",
    "class_counts_of",
    "columns_from_json",
    "columns_to_json",
    "named_columns",
    "numbers_of_columns",
    "one_hot_columns",
    "positions_of",
]

DTYPES = ("float", "int", "bool", "string")
_TRUE = {"True": True, "true": True, "1": True, "False": False, "false": False, "0": False}


class Column(NamedTuple):
    """A column of a table, stored as one number for each row.

    Attributes:
      name: of the column.
      categories: the names of its classes, whose positions are the stored numbers; `()` of a column
        of real numbers.
      dtype: type of the values in the user's table, one of `DTYPES`.
    """

    name: str
    categories: tuple[str, ...] = ()
    dtype: str = "float"


class TableForm(NamedTuple):
    """The columns of the table that a run was trained on, by which other tables are read.

    Attributes:
      columns: of `vector`; `()` if they have no names.
      condition_columns: of `condition`.
      class_names: of the label; `()` if its classes are numbers.
      classes: number of classes of the label; 0 without one.
    """

    columns: tuple[Column, ...]
    condition_columns: tuple[Column, ...] = ()
    class_names: tuple[str, ...] = ()
    classes: int = 0


def class_counts_of(columns: Sequence[Column]) -> tuple[int, ...]:
    """The number of classes of each column; 0 for real numbers."""
    return tuple(len(column.categories) for column in columns)


def columns_to_json(columns: Sequence[Column]) -> list[dict[str, Setting]]:
    """As JSON values."""
    return [{**c._asdict(), "categories": list(c.categories)} for c in columns]


def columns_from_json(stored: Iterable[Options]) -> tuple[Column, ...]:
    """The inverse of `columns_to_json`."""
    return tuple(Column(c["name"], tuple(c["categories"]), c["dtype"]) for c in stored)


def named_columns(columns: Sequence[Column], rows: np.ndarray) -> dict[str, np.ndarray]:
    """Rows of stored numbers as a table, in the types of the user's.

    Args:
      columns: D of them.
      rows: `[N, D]`, for example from `Run.sample` or `Run.reconstruct`.

    Returns:
      Name -> values `[N]`: float32 of numbers; of categories strings, or the integers or booleans
      that they were made from.

    Raises:
      ValueError: another number of columns, or a number that is no class of its column.
    """
    rows = np.asarray(rows)
    if rows.ndim != 2 or rows.shape[1] != len(columns):
        raise ValueError(f"expected rows [N, {len(columns)}], found shape {list(rows.shape)}")
    check_stored(columns, rows)
    table: dict[str, np.ndarray] = {}
    for column, values in zip(columns, rows.T, strict=True):
        if column.categories:
            table[column.name] = _typed(column)[values.astype(np.int64)]
        else:
            table[column.name] = values.astype(np.float32)
    return table


def check_stored(columns: Sequence[Column], rows: np.ndarray) -> None:
    """Raises ValueError if a stored number of rows `[N, D]` is no class of its column."""
    for column, values in zip(columns, rows.T, strict=True):
        if not column.categories:
            continue
        inside = (values >= 0) & (values < len(column.categories)) & (values == np.floor(values))
        if not inside.all():
            raise ValueError(
                f"column {column.name!r} has the classes 0 to {len(column.categories) - 1}, found "
                f"{values[~inside][0]:g}"
            )


def _typed(column: Column) -> np.ndarray:
    """The values of a column's classes in the type of the user's table."""
    if column.dtype == "int":
        return np.array([int(name) for name in column.categories])
    if column.dtype == "bool":
        return np.array([_TRUE[name] for name in column.categories])
    return np.array(column.categories, str)


def positions_of(column: Column, values: np.ndarray, *, missing: bool = False) -> np.ndarray:
    """The stored numbers `[N]` of a column's values.

    Args:
      column: of the trained model.
      values: `[N]`; of categories strings, or any values whose text is the name of a category.
      missing: whether None and NaN become NaN, instead of being refused.

    Raises:
      ValueError: a category that the column does not have, or a value that is no finite number.
    """
    values = np.asarray(values)
    if missing and values.dtype.kind in "Of":
        absent = np.array([value is None or value != value for value in values.tolist()], bool)
        result = np.full(len(values), np.nan, np.float32)
        result[~absent] = positions_of(column, values[~absent])
        return result
    if not column.categories:
        try:
            numbers = values.astype(np.float32)
        except (TypeError, ValueError):
            raise ValueError(f"column {column.name!r} must hold numbers") from None
        if not np.isfinite(numbers).all():
            raise ValueError(f"column {column.name!r} must hold finite numbers")
        return numbers
    position = {name: i for i, name in enumerate(column.categories)}
    if column.dtype == "bool":
        position |= {text: position[str(value)] for text, value in _TRUE.items()}
    names, inverse = np.unique(values.astype(str), return_inverse=True)
    for name in names:
        if str(name) not in position:
            known = near_names(str(name), column.categories)
            raise ValueError(f"column {column.name!r} has no category {known}")
    return np.array([position[str(name)] for name in names], np.float32)[inverse.reshape(-1)]


def numbers_of_columns(
    columns: Sequence[Column],
    table: Mapping[str, Sequence[PyTree] | np.ndarray],
    *,
    missing: bool = False,
) -> np.ndarray:
    """A table as rows of stored numbers, the inverse of `named_columns`.

    Args:
      columns: D of them.
      table: name -> values `[N]`, in any order, as a dict or a data frame has them.
      missing: whether None and NaN become NaN, instead of being refused.

    Returns:
      float32 `[N, D]`.

    Raises:
      ValueError: a column is missing, unknown or of another length; a category that the column does
        not have; or a value that is no finite number.
    """
    names = [column.name for column in columns]
    for name in map(str, table):
        if name not in names:
            raise ValueError(f"unknown column {near_names(name, names)}")
    if absent := [name for name in names if name not in table]:
        raise ValueError(f"the table lacks the column {absent[0]!r}")
    arrays = [
        positions_of(c, np.atleast_1d(np.asarray(table[c.name])), missing=missing) for c in columns
    ]
    if len({a.shape for a in arrays}) > 1 or arrays[0].ndim != 1:
        lengths = {c.name: list(a.shape) for c, a in zip(columns, arrays, strict=True)}
        raise ValueError(f"all columns must have one value per row, found shapes {lengths}")
    return np.stack(arrays, axis=1)


def one_hot_columns(columns: Sequence[Column], rows: np.ndarray) -> np.ndarray:
    """Stored numbers `[N, D]` with each column of categories as one-hot values, float32 `[N, E]`.

    Numbers stay one column each; the order is that of the columns.
    """
    parts = []
    for column, values in zip(columns, rows.T, strict=True):
        if column.categories:
            classes = np.arange(len(column.categories), dtype=values.dtype)
            parts.append((values[:, None] == classes[None]).astype(np.float32))
        else:
            parts.append(values[:, None].astype(np.float32))
    return np.concatenate(parts, axis=1)
