"""Whether a measurement is slower than the record of the same kind of machine."""

from collections.abc import Mapping
from typing import Any

__all__ = ["slower"]


def slower(row: Mapping[str, Any], recorded: Mapping[str, Any] | None) -> float | None:
    """How many times slower a family's step is than recorded; None without such a record."""
    if recorded is None or "products per step" not in recorded:
        return None
    return float(row["products per step"] / recorded["products per step"])
