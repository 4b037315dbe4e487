"""Where rows are held: in memory, or in files on disk that are mapped into it.

Of several processes each may hold its share of what one may hold. Rows of a larger source are
mapped: what is not in use needs no memory.
"""

import logging
import mmap
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

__all__ = ["allocate_rows", "cache_dir", "on_disk", "process_share", "release"]

_CHUNK = 2**24  # bytes

_log = logging.getLogger(__name__)


def cache_dir() -> Path:
    """`$VAEJAX_CACHE`, else `$XDG_CACHE_HOME/vaejax`, else `~/.cache/vaejax`."""
    if configured := os.environ.get("VAEJAX_CACHE"):
        return Path(configured)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "vaejax"


def process_share(size: int) -> int:
    """The bytes that each of several processes may hold of a source.

    Args:
      size: what one process may hold, in bytes.
    """
    # A count of processes would initialise the devices, after which no processes can be joined.
    return size // (jax.process_count() if jax.distributed.is_initialized() else 1)


def allocate_rows(
    shapes: Mapping[str, tuple[tuple[int, ...], Any]], *, on_disk: bool
) -> dict[str, np.ndarray]:
    """Arrays to be filled.

    Args:
      shapes: name -> shape and type.
      on_disk: whether they are mapped to files in the folder of caches, which vanish with them.

    Raises:
      OSError: the files cannot be created.
    """
    if not on_disk:
        return {name: np.empty(shape, dtype) for name, (shape, dtype) in shapes.items()}
    rows: dict[str, np.ndarray] = {}
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


def on_disk(rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The rows with those that are in memory moved to mapped files, which vanish with them.

    Where these cannot be written, a warning is logged and the rows stay in memory.
    """
    moved = dict(rows)
    for name, value in rows.items():
        if _mapped(value) is not None:
            continue
        try:
            stored = allocate_rows({name: (value.shape, value.dtype)}, on_disk=True)[name]
            step = max(1, _CHUNK // max(1, value[:1].nbytes))
            for start in range(0, len(value), step):
                stored[start : start + step] = value[start : start + step]
        except OSError as error:
            _log.warning("rows stay in memory, since %s cannot be written: %s", cache_dir(), error)
            return moved
        moved[name] = stored
    release(moved)
    return moved


def release(rows: Mapping[str, np.ndarray]) -> None:
    """Frees the memory of mapped arrays; what is used again is read again."""
    for value in rows.values():
        mapped = _mapped(value)
        # Of a private mapping ("c") this would lose what was written to it.
        if mapped is not None and mapped.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
            mapped.base.madvise(mmap.MADV_DONTNEED)


def _mapped(value: Any) -> Any:
    """The mapped array that an array is or is a view of; None if it is in memory."""
    while value is not None and not isinstance(getattr(value, "base", None), mmap.mmap):
        value = getattr(value, "base", None)
    return value if isinstance(value, np.memmap) else None
