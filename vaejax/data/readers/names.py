"""Names of classes, factors, columns and tokens, checked against the arrays that they name."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vaejax.core.types import PyTree
from vaejax.data.readers.fields import NAMINGS
from vaejax.data.source import Rows

__all__ = ["check_names", "count_named_classes", "read_names"]

_NAMED = {
    "class_names": ("label", "classes"),
    "token_names": ("tokens", "classes"),
    "column_names": ("vector", "columns"),
    "factor_names": ("factors", "factors"),
}


def read_names(arrays: Mapping[str, PyTree]) -> dict[str, tuple[str, ...]]:
    """The arrays of `NAMINGS`, one-dimensional arrays of strings, as tuples.

    Raises:
      ValueError: an array of another rank, or not of strings.
    """
    names = {}
    for key in NAMINGS:
        if key not in arrays:
            continue
        value = np.asarray(arrays[key])
        if value.ndim != 1 or value.dtype.kind not in "UST":
            raise ValueError(
                f"{key!r} must be a list of strings, [K], found {value.dtype} {value.shape}"
            )
        names[key] = tuple(v.decode() if isinstance(v, bytes) else str(v) for v in value.tolist())
    return names


def count_named_classes(counts: dict[str, Any], names: Mapping[str, tuple[str, ...]]) -> None:
    """Sets `num_classes` and `num_tokens` to the number of names, which may exceed those in use.

    Args:
      counts: from `fields.class_counts`.
      names: from `read_names`.

    Raises:
      ValueError: a class or a token has no name.
    """
    for key, count, what in (
        ("class_names", "num_classes", "labels"),
        ("token_names", "num_tokens", "tokens"),
    ):
        if key not in names or count not in counts:
            continue
        if len(names[key]) < counts[count]:
            raise ValueError(
                f"{key!r} has {len(names[key])} names, but {what} go up to {counts[count] - 1}"
            )
        counts[count] = len(names[key])


def check_names(names: Mapping[str, tuple[str, ...]], rows: Rows) -> None:
    """Raises ValueError if names name nothing, or are not one for each column or factor.

    Args:
      names: from `read_names`.
      rows: of a split.
    """
    for key, values in names.items():
        field, what = _NAMED[key]
        if field not in rows:
            raise ValueError(f"{key!r} names the {what} of an array {field!r}, which is missing")
        count = rows[field].shape[-1]
        if key in ("column_names", "factor_names") and len(values) != count:
            raise ValueError(
                f"{key!r} has {len(values)} names, but {field!r} has {count} {what}: give one "
                "name for each, in their order"
            )
