"""Arrays for rows that are read in parts: in memory, or on disk if they are larger than it."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vaejax.data.readers.cache import cache_dir
from vaejax.data.source import Rows

__all__ = ["allocate_rows"]


def allocate_rows(shapes: Mapping[str, tuple[tuple[int, ...], Any]], *, on_disk: bool) -> Rows:
    """Arrays to be filled.

    Args:
      shapes: name -> shape and type.
      on_disk: whether they are mapped to files in the folder of caches, which vanish with them.

    Raises:
      OSError: the files cannot be created.
    """
    if not on_disk:
        return {name: np.empty(shape, dtype) for name, (shape, dtype) in shapes.items()}
    rows: Rows = {}
    cache_dir().mkdir(parents=True, exist_ok=True)
    for name, (shape, dtype) in shapes.items():
        if 0 in shape:
            rows[name] = np.empty(shape, dtype)
            continue
        with tempfile.NamedTemporaryFile(dir=cache_dir(), suffix=".tmp", delete=False) as file:
            path = Path(file.name)
        rows[name] = np.memmap(path, dtype, mode="w+", shape=shape)
        try:
            path.unlink()  # the mapping stays
        except PermissionError:  # on Windows
            continue
    return rows
