"""What the columns of a table hold: kinds, categories, missing values, read once in order."""

from collections.abc import Iterable

import numpy as np

from vaejax.core.types import Untyped
from vaejax.data.readers.numbers import MAX_MAGNITUDE, check_rounding

__all__ = ["ColumnScan", "category_names", "numbers_of", "scan_columns", "trimmed"]

MAX_CATEGORIES = 1000
_MAX_DISTINCT = 100_000  # kept of a column of text or integers
_MIN_ROWS = 20  # from which integers 0, 1, 2, ... number the rows


class ColumnScan:
    """The statistics of one column.

    Attributes:
      name: of the column.
      kind: `'float'`, `'int'`, `'bool'`, `'string'`, `'null'`, or pyarrow's name of another type.
      rows: number of values.
      missing: how many of them are missing or NaN.
      distinct: its distinct values; None if there are more than are counted, which are few of
        real numbers.
    """

    def __init__(self, name: str, *, as_classes: bool = False) -> None:
        """Statistics of no values yet.

        Args:
          name: of the column.
          as_classes: whether real numbers may be classes, so that their values are kept.
        """
        self.name, self.kind, self.rows, self.missing = name, "null", 0, 0
        self._most_floats = _MAX_DISTINCT if as_classes else 2
        self.distinct: set[Untyped] | None = set()
        self.is_numbering = True
        self.low, self.high, self.error = np.inf, -np.inf, 0.0

    def add(self, array: Untyped) -> None:
        """Adds the next values, an array of pyarrow."""
        kind = _kind_of(array.type)
        if kind != "null":
            self.kind = kind if self.kind == "null" else _common(self.kind, kind)
        if kind in ("float", "int"):
            values = numbers_of(array)
            self.missing += int(np.isnan(values).sum())
            self._add_numbers(values, kind)
        else:
            self.missing += array.null_count
        if kind in ("string", "bool"):
            self._keep(array.unique().drop_null().to_pylist(), _MAX_DISTINCT)
        self.rows += len(array)

    def _add_numbers(self, values: np.ndarray, kind: str) -> None:
        present = values[~np.isnan(values)]
        if len(present) == 0:
            return
        if self.distinct is not None:
            self._keep(
                np.unique(present).tolist(), _MAX_DISTINCT if kind == "int" else self._most_floats
            )
        if kind == "float":
            self.is_numbering = False
        first = present[0] if self.rows == 0 else self.low + self.rows
        expected = first + np.arange(len(present))
        self.is_numbering &= len(present) == len(values) and bool((present == expected).all())
        with np.errstate(over="ignore", under="ignore"):
            cast = present.astype(np.float32).astype(np.float64)
        if np.isfinite(present).all() and np.abs(present).max() <= MAX_MAGNITUDE:
            self.error = max(self.error, float(np.abs(present - cast).max()))
        self.low = min(self.low, float(present.min()))
        self.high = max(self.high, float(present.max()))

    def _keep(self, values: Iterable[Untyped], most: int) -> None:
        if self.distinct is not None:
            self.distinct.update(values)
            if len(self.distinct) > most:
                self.distinct = None

    @property
    def is_binary(self) -> bool:
        """Whether a column of numbers holds zeros and ones, and nothing else."""
        return self.distinct == {0, 1}

    def refusal_of_numbers(self, file: str) -> str:
        """Why a column of numbers cannot be used, or ''."""
        label = f"column {self.name!r}"
        largest = max(abs(self.low), abs(self.high))
        if not largest <= MAX_MAGNITUDE:
            return (
                f"{label} of {file} holds {self.low if -self.low == largest else self.high:g}: "
                f"numbers must be finite and at most {MAX_MAGNITUDE:g}; remove or rescale them"
            )
        if self.kind == "int" and self.is_numbering and self.rows >= _MIN_ROWS:
            return f"{label} of {file} numbers the rows: leave it out with data.drop={self.name!r}"
        return check_rounding(label, file, self.low, self.high, self.error)

    def refusal_of_categories(self, file: str) -> str:
        """Why a column of text cannot be a category, or ''."""
        count = _MAX_DISTINCT + 1 if self.distinct is None else len(self.distinct)
        if count <= MAX_CATEGORIES and count <= 5 + self.rows // 2:
            return ""
        example = next(iter(sorted(map(str, self.distinct or ()))), "")
        numeric = sum(map(_is_number, map(str, self.distinct or ())))
        label = f"column {self.name!r} of {file}"
        if 2 * numeric > count:
            text = next(t for t in sorted(map(str, self.distinct or ())) if not _is_number(t))
            return f"{label} holds the text {text[:40]!r} among numbers: correct or remove it"
        more = "over " if self.distinct is None else ""
        return (
            f"{label} holds {more}{min(count, _MAX_DISTINCT):,} different texts, as "
            f"{example[:40]!r}, in {self.rows:,} rows, which is no category: leave it out with "
            f"data.drop={self.name!r}"
        )


def scan_columns(scans: dict[str, ColumnScan], batch: Untyped) -> None:
    """Adds a record batch of pyarrow to the statistics of its columns.

    Args:
      scans: by name.
      batch: with these columns, and maybe others.
    """
    for name, scan in scans.items():
        scan.add(trimmed(batch.column(name)))


def _kind_of(kind: Untyped) -> str:
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        return _kind_of(kind.value_type)
    if types.is_boolean(kind):
        return "bool"
    if types.is_integer(kind):
        return "int"
    if types.is_floating(kind) or types.is_decimal(kind):
        return "float"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "string"
    return "null" if types.is_null(kind) else str(kind)


def _common(first: str, second: str) -> str:
    """The kind of a column of several files."""
    if first == second:
        return first
    return "float" if {first, second} == {"int", "float"} else f"{first} and {second}"


def trimmed(array: Untyped) -> Untyped:
    """The array without dictionary encoding, and strings without white space around them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.float64())
    return pc.utf8_trim_whitespace(array) if _kind_of(array.type) == "string" else array


def numbers_of(array: Untyped) -> np.ndarray:
    """Numbers of pyarrow as float64, NaN where they are missing."""
    import pyarrow as pa

    return np.asarray(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def category_names(scan: ColumnScan) -> tuple[str, ...]:
    """The names of the categories of a column: numbers by value, others by name."""
    values = scan.distinct or set()
    if scan.kind in ("int", "float"):
        return tuple(str(int(value)) for value in sorted(values))
    if scan.kind == "bool":
        return ("False", "True")
    return tuple(sorted(map(str, values)))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
