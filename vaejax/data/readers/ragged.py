"""Sequences of different lengths, padded; and missing values of tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["is_ragged", "mark_missing", "pad_parts", "pad_rows"]

_SEQUENTIAL = ("sequence", "signal", "tokens")

# (key, value) of each field of a split.
Named = dict[str, tuple[str, Any]]


def is_ragged(value: Any) -> bool:
    """Whether a value is a list of arrays, or an array of objects, of different lengths."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "O" and value.ndim == 1
    if not isinstance(value, list | tuple) or not value:
        return False
    return len({np.shape(row)[:1] for row in value if hasattr(row, "__len__")}) > 1


def pad_rows(key: str, rows: Any, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows `[T_i, ...]` padded by zeros to `[N, length, ...]`, and their lengths int32 `[N]`.

    Args:
      key: of the rows, for errors.
      rows: one array for each example.
      length: of the result.

    Raises:
      ValueError: a row is empty, longer than that, or of another shape or type than the first.
    """
    arrays = [np.asarray(row) for row in rows]
    forms = {(a.shape[1:], a.dtype.kind) for a in arrays}
    if len(forms) > 1 or any(a.ndim == 0 or a.dtype.kind not in "biuf" for a in arrays):
        raise ValueError(
            f"the rows of {key!r} must be arrays of numbers that differ in their first axis alone, "
            f"found {sorted(str(a.shape) for a in arrays)[:3]} ..."
        )
    lengths = np.array([len(a) for a in arrays], np.int32)
    _check_lengths(key, lengths, length)
    dtype = np.result_type(*{a.dtype for a in arrays})
    padded = np.zeros((len(arrays), length, *arrays[0].shape[1:]), dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return padded, lengths


def _check_lengths(key: str, lengths: np.ndarray, limit: int) -> None:
    if lengths.min() < 1 or lengths.max() > limit:
        example = int(np.argmax(lengths)) if lengths.max() > limit else int(np.argmin(lengths))
        remedy = f"of at most {limit}: raise data.length" if lengths[example] > limit else "from 1"
        raise ValueError(
            f"example {example} of {key!r} has the length {lengths[example]}, expected lengths "
            f"{remedy}"
        )


def _split_rows(key: str, value: np.ndarray, splits: np.ndarray) -> list[np.ndarray]:
    """The rows of values `[ΣT, ...]` that are stored one after the other."""
    splits = np.asarray(splits)
    valid = splits.ndim == 1 and len(splits) > 1 and splits.dtype.kind in "iu"
    if not valid or splits[0] != 0 or (np.diff(splits) < 0).any() or splits[-1] != len(value):
        raise ValueError(
            f"row_splits must be integers [N + 1] from 0 to the number of values of {key!r}, "
            f"{len(value)}, in ascending order: row i is values[row_splits[i]:row_splits[i + 1]]"
        )
    return np.split(value, splits[1:-1])


def pad_parts(parts: Mapping[str, Named], length: int = 0) -> None:
    """Pads the events of all splits to one length, in place, and adds their `lengths`.

    Ragged are lists (or arrays of objects) of arrays, values with `row_splits`, and arrays that
    are padded already, with `lengths`.

    Args:
      parts: of each split.
      length: of the result; 0 for that of the longest event of all splits.

    Raises:
      ValueError: see `pad_rows`; lengths of events that have none, or that do not fit.
    """
    for named in parts.values():
        event = next((field for field in _SEQUENTIAL if field in named), None)
        extra = [field for field in ("lengths", "row_splits") if field in named]
        if event is None and extra:
            raise ValueError(
                f"{named[extra[0]][0]!r} is for sequences, signals and tokens, found "
                f"{sorted(named)}"
            )
        if event is not None and "row_splits" in named:
            key, value = named[event]
            named[event] = key, _split_rows(key, np.asarray(value), named.pop("row_splits")[1])
    fields = {field for named in parts.values() for field in _SEQUENTIAL if field in named}
    for field in fields:
        _pad_field(field, [named for named in parts.values() if field in named], length)


def _pad_field(field: str, splits: list[Named], length: int) -> None:
    ragged = [is_ragged(named[field][1]) or "lengths" in named for named in splits]
    lists = [isinstance(named[field][1], list) for named in splits]  # of equal lengths, too
    if not any(ragged) and not length:
        return
    longest = [
        int(max(len(row) for row in value)) if a or b else np.shape(value)[1]
        for a, b, (_, value) in zip(ragged, lists, (named[field] for named in splits), strict=True)
    ]
    target = length or max(longest)
    for named in splits:
        key, value = named[field]
        if "lengths" in named:
            name, lengths = named["lengths"]
            lengths, value = np.asarray(lengths), np.asarray(value)
            if lengths.shape != value.shape[:1] or lengths.dtype.kind not in "iu":
                raise ValueError(
                    f"{name!r} must be integers [{len(value)}], one for each example of {key!r}, "
                    f"found {lengths.dtype} {lengths.shape}"
                )
            _check_lengths(key, lengths, min(value.shape[1], target))
            value = value[:, :target]
            missing = [(0, target - value.shape[1] if i == 1 else 0) for i in range(value.ndim)]
            value, lengths = np.pad(value, missing), lengths.astype(np.int32)
        else:
            value, lengths = pad_rows(key, list(value), target)
        named[field], named["lengths"] = (key, value), ("lengths", lengths)


def mark_missing(named: Named) -> None:
    """Adds the `mask` of a table, in place: false at NaN, which becomes 0."""
    if "vector" not in named:
        return
    key, value = named["vector"]
    hidden = np.ma.getmaskarray(value) if isinstance(value, np.ma.MaskedArray) else None
    value = np.ma.getdata(value) if hidden is not None else np.asarray(value)
    if value.dtype.kind not in "biuf":
        return  # refused by the check of its type
    missing = np.isnan(value) if value.dtype.kind == "f" else np.zeros(value.shape, bool)
    if hidden is not None:
        missing |= hidden
    named["vector"] = key, np.where(missing, np.zeros((), value.dtype), value)
    if "mask" in named:
        missing |= ~np.asarray(named["mask"][1], bool)
    named["mask"] = "mask", ~missing
