"""Numbers of any type as float32, checked after the cast, with the column named in errors."""

from collections.abc import Sequence

import numpy as np

from vaejax.core.types import PyTree

__all__ = ["MAX_MAGNITUDE", "check_is_numeric", "check_rounding", "column_label", "to_float32"]

MAX_MAGNITUDE = 1e18  # beyond it, squares are not finite in float32
_ROUNDING = 1e-3  # the largest rounding error, as a fraction of the range of a column
_JITTER = 1e-12
_EXACT = 2**24
_CHUNK = 2**16  # rows


def column_label(field: str, column: int, names: Sequence[str] | None) -> str:
    """As in "column 'price'", "column 3" or, of a signal, "channel 3"."""
    if field == "signal":
        return f"channel {column}"
    if names is not None and column < len(names):
        return f"column {names[column]!r}"
    return f"column {column}"


def check_is_numeric(key: str, value: PyTree, kinds: str, what: str) -> np.ndarray:
    """The value as an array of one of NumPy's `kinds`.

    Args:
      key: its name, for errors.
      value: an array, or what a user has in place of one.
      kinds: letters of `dtype.kind`.
      what: that it should hold, for errors.

    Raises:
      ValueError: a sparse matrix, missing values of a masked array, Python objects, or another
        type.
    """
    if hasattr(value, "toarray"):
        raise ValueError(f"{key!r} is a sparse matrix: give {key}.toarray()")
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(f"{key!r} has masked values: fill them in, for example by value.filled()")
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        array = np.empty(0, object)
    if array.dtype.kind == "O":
        raise ValueError(
            f"{key!r} holds Python objects, such as lists of different lengths or None, in place "
            f"of {what}: give a rectangular array of one numeric type, as from numpy.stack(rows)"
        )
    if array.dtype.kind not in kinds:
        raise ValueError(f"{key!r} must hold {what}, found {array.dtype} {array.shape}")
    return array


def to_float32(
    field: str,
    key: str,
    value: np.ndarray,
    names: Sequence[str] | None = None,
    *,
    rounding: bool = True,
) -> np.ndarray:
    """Numbers `[N, ..., D]` as float32, if they survive it.

    Args:
      field: of a batch, for errors.
      key: of the array, for errors.
      value: of a boolean, integer or float type.
      names: of the columns.
      rounding: whether to refuse values that float32 rounds, relative to the range of their column.

    Raises:
      ValueError: NaN or Inf; values beyond `MAX_MAGNITUDE`; integers that float32 rounds; or
        floats of which it rounds away more than a thousandth of the column's range.
    """
    result = np.empty(value.shape, np.float32)
    exact = value.dtype.kind == "b" or value.dtype.itemsize <= 2 or value.dtype == np.float32
    exact = exact or not rounding
    error: PyTree = 0.0
    low: PyTree = np.inf
    high: PyTree = -np.inf
    for start in range(0, len(value), _CHUNK):
        part = value[start : start + _CHUNK]
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            cast = part.astype(np.float32)
        _check_magnitude(field, key, part, cast, names)
        result[start : start + _CHUNK] = cast
        if exact:
            continue
        if value.dtype.kind in "iu":
            _check_integers(field, key, part, cast, names)
        else:
            rows = part.reshape(-1, part.shape[-1])
            error = np.maximum(error, np.abs(rows - cast.reshape(rows.shape)).max(axis=0))
            low, high = np.minimum(low, rows.min(axis=0)), np.maximum(high, rows.max(axis=0))
    if not exact and value.dtype.kind == "f":
        spread, largest = high - low, np.maximum(np.abs(low), np.abs(high))
        # A spread of float64's own rounding is that of a constant column.
        lost = (error > _ROUNDING * spread) & (spread > _JITTER * largest)
        if lost.any():
            column = int(np.argmax(lost))
            label = column_label(field, column, names)
            raise ValueError(check_rounding(label, key, low[column], high[column], error[column]))
    return result


def check_rounding(label: str, key: str, low: float, high: float, error: float) -> str:
    """Why float32 does not hold a column of numbers, or '' if it does.

    Args:
      label: of the column, see `column_label`.
      key: of the array or the file.
      low: its smallest value.
      high: its largest value.
      error: the largest rounding error.
    """
    spread, largest = high - low, max(abs(low), abs(high))
    if not (error > _ROUNDING * spread and spread > _JITTER * largest):
        return ""
    return (
        f"{label} of {key!r} ranges from {low:.12g} to {high:.12g}, of which float32 rounds away "
        f"up to {error:.2g}: subtract an offset, or change its unit"
    )


def _first(bad: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(bad)[0])


def _check_magnitude(
    field: str, key: str, part: np.ndarray, cast: np.ndarray, names: Sequence[str] | None
) -> None:
    """Raises ValueError for NaN, Inf, and values whose squares float32 cannot hold."""
    bad = ~(np.abs(cast) <= MAX_MAGNITUDE)  # NaN fails this too
    if not bad.any():
        return
    where = _first(bad)
    remedy = "scale this column down"
    if part.dtype.kind == "f" and not np.isfinite(part[where]):
        remedy = "remove or fill in such values"
        if field == "vector" and np.isnan(part[where]):
            remedy += ", or use data.missing=mask"
    raise ValueError(
        f"{key!r} must hold finite numbers up to {MAX_MAGNITUDE:g}, but "
        f"{column_label(field, where[-1], names)} holds {part[where]:.6g}: {remedy}"
    )


def _check_integers(
    field: str, key: str, part: np.ndarray, cast: np.ndarray, names: Sequence[str] | None
) -> None:
    """Raises ValueError for integers that float32 rounds."""
    rounded = cast.astype(np.int64) != part.astype(np.int64)
    if rounded.any():
        where = _first(rounded)
        raise ValueError(
            f"{column_label(field, where[-1], names)} of {key!r} holds the integer {part[where]}, "
            f"but float32 is exact only up to {_EXACT:,}: subtract an offset, or give floats if "
            "the last digits do not matter"
        )
