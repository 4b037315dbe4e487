"""Means and standard deviations of the columns of tables and the channels of signals."""

import weakref
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from vaejax.core.types import Options, PyTree
from vaejax.data.columns import class_counts_of
from vaejax.data.source import Source
from vaejax.data.values import chunks, fields_of

__all__ = ["Units", "standardization", "units_from_json", "units_to_json"]

_RESOLUTION = 4 * float(np.finfo(np.float32).eps)
_CACHE: "weakref.WeakKeyDictionary[Source, dict[str, Units]]" = weakref.WeakKeyDictionary()


class Units(NamedTuple):
    """The units of a field: standardised values are (x − shift) / scale.

    Attributes:
      shift: means, float32 `[D]` (of columns) or `[C]` (of channels).
      scale: standard deviations; 1 where a column is constant.
    """

    shift: np.ndarray
    scale: np.ndarray


def standardization(source: Source) -> dict[str, Units]:
    """Field -> its units, by the statistics of a training split; `{}` if nothing has units.

    Fields are the event if it is a `vector` (by columns) or a `signal` (by channels), and a
    `condition` that is a vector. Generated data have unit scale by construction (see
    `Source.unit_scale`) and are left as they are, and so are columns of categories.

    Args:
      source: the training split. Of one too large for memory, an evenly spread part is read. Values
        that are missing from a `mask` are left out.
    """
    if source.unit_scale:
        return {}
    if source not in _CACHE:
        shapes = fields_of(source)
        names = [n for n in ("vector", "signal") if n in shapes]
        names += [n for n in ("condition",) if n in shapes and len(shapes[n].shape) == 2]
        _CACHE[source] = {n: _of_numbers(_units(source, n), source, n) for n in names}
    return _CACHE[source]


def _of_numbers(units: Units, source: Source, field: str) -> Units:
    """The units of the columns that hold numbers; categories keep theirs, which are classes."""
    if field == "vector" and source.columns:
        categories = np.array(class_counts_of(source.columns)) > 0
    elif field == "condition" and source.condition_columns:
        widths = [max(1, n) for n in class_counts_of(source.condition_columns)]
        is_category = [bool(c.categories) for c in source.condition_columns]
        categories = np.repeat(is_category, widths)
    else:
        return units
    shift, scale = np.where(categories, 0, units.shift), np.where(categories, 1, units.scale)
    return Units(shift.astype(np.float32), scale.astype(np.float32))


def _units(source: Source, field: str) -> Units:
    """Two passes in float64, so that large means do not hide small deviations."""
    if "mask" in fields_of(source) and field != "condition":
        return _units_of_present(source, field)
    if field == "vector" and source.sparse is not None:
        return _from_moments(*source.sparse.vector.moments())
    count: int = 0
    total: PyTree = 0.0
    largest: PyTree = 0.0
    for values in chunks(source, field):
        rows = np.asarray(values, np.float64).reshape(-1, values.shape[-1])
        count, total = count + len(rows), total + rows.sum(axis=0)
        largest = np.maximum(largest, np.abs(rows).max(axis=0))
    mean = total / count
    squares: PyTree = 0.0
    for values in chunks(source, field):
        rows = np.asarray(values, np.float64).reshape(-1, values.shape[-1])
        squares = squares + np.square(rows - mean).sum(axis=0)
    return _from_moments(mean, np.sqrt(squares / count), largest)


def _from_moments(mean: np.ndarray, deviation: np.ndarray, largest: PyTree) -> Units:
    """Units from means, deviations and largest magnitudes `[D]`."""
    # A deviation below the resolution of float32 is that of rounding.
    constant = deviation <= _RESOLUTION * largest
    scale = np.where(constant, 1.0, deviation)
    return Units(mean.astype(np.float32), np.maximum(scale, 1e-30).astype(np.float32))


def _units_of_present(source: Source, field: str) -> Units:
    """`_units` of the values that are present."""

    def rows() -> Iterator[np.ndarray]:
        for values in chunks(source, field, missing=np.nan):
            yield np.asarray(values, np.float64).reshape(-1, values.shape[-1])

    count: PyTree = 0.0
    total: PyTree = 0.0
    largest: PyTree = 0.0
    for part in rows():
        count = count + (~np.isnan(part)).sum(axis=0)
        total = total + np.nansum(part, axis=0)
        largest = np.maximum(largest, np.abs(np.nan_to_num(part)).max(axis=0))
    mean = total / np.maximum(count, 1)
    squares = sum(np.nansum(np.square(part - mean), axis=0) for part in rows())
    deviation = np.sqrt(squares / np.maximum(count, 1))
    scale = np.where(deviation <= _RESOLUTION * largest, 1.0, deviation)
    return Units(mean.astype(np.float32), np.maximum(scale, 1e-30).astype(np.float32))


def units_to_json(units: Mapping[str, Units]) -> dict[str, dict[str, list[float]]]:
    """As JSON values."""
    return {n: {"shift": u.shift.tolist(), "scale": u.scale.tolist()} for n, u in units.items()}


def units_from_json(stored: Mapping[str, Options]) -> dict[str, Units]:
    """The inverse of `units_to_json`."""
    return {
        name: Units(np.array(u["shift"], np.float32), np.array(u["scale"], np.float32))
        for name, u in stored.items()
    }
