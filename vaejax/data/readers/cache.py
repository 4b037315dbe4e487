"""A disk cache of arrays, with a checksum that is verified at every read."""

import json
import logging
import os
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vaejax.data.row_storage import cache_dir
from vaejax.data.source import Rows

__all__ = ["cache_dir", "load_or_build"]

# Increase the number when the same name gets other content.
_MAGIC = b"vaejax-1"
_PREFIX = len(_MAGIC) + 4 + 4  # magic, checksum of all that follows it, length of the header
_ALIGNMENT = 64
_CHUNK = 2**24

_log = logging.getLogger(__name__)


def load_or_build(name: str, build: Callable[[], Rows]) -> Rows:
    """The arrays cached under `name`; a missing, truncated or corrupted file is rebuilt.

    Args:
      name: file name, without suffix, that identifies the content (data, version, options).
      build: computes the arrays.

    Returns:
      The arrays, read-only and memory-mapped if they come from the cache. If the cache cannot be
      written, the built arrays.
    """
    path = cache_dir() / f"{name}.rows"
    if (rows := _read(path)) is not None:
        return rows
    rows = build()
    try:
        _write(path, rows)
    except OSError as error:
        _log.warning("cannot write the cache file %s: %s", path, error)
        return rows
    # Reading them back lets the pages of the file replace the built arrays in memory.
    return _read(path) or rows


def _write(path: Path, rows: Rows) -> None:
    """Writes the file atomically."""
    layout, offset = {}, 0
    for field, value in rows.items():
        layout[field] = {"dtype": value.dtype.str, "shape": value.shape, "offset": offset}
        offset += -(-value.nbytes // _ALIGNMENT) * _ALIGNMENT
    header = json.dumps(layout).encode()
    header += b" " * (-(_PREFIX + len(header)) % _ALIGNMENT)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_MAGIC + bytes(4))  # the checksum is written last
            body = len(header).to_bytes(4, "little") + header
            file.write(body)
            checksum = zlib.crc32(body)
            for value in rows.values():
                data = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
                pieces = [data, np.zeros(-data.size % _ALIGNMENT, np.uint8)]
                for piece in pieces:
                    file.write(piece.data)
                    checksum = zlib.crc32(piece.data, checksum)
            file.seek(len(_MAGIC))
            file.write(checksum.to_bytes(4, "little"))
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _read(path: Path) -> Rows | None:
    """The arrays of a complete and unaltered file, else None."""
    if not path.is_file() or path.stat().st_size < _PREFIX:
        return None
    data = np.asarray(np.memmap(path, np.uint8, mode="r"))
    magic, stored = data[: len(_MAGIC)].tobytes(), data[len(_MAGIC) : _PREFIX - 4].tobytes()
    checksum = 0
    for start in range(_PREFIX - 4, data.size, _CHUNK):
        checksum = zlib.crc32(data[start : start + _CHUNK].data, checksum)
    # The checksum covers header and arrays, so nothing below can be malformed.
    if magic != _MAGIC or checksum != int.from_bytes(stored, "little"):
        _log.warning("the cache file %s is damaged and will be rebuilt", path)
        return None
    length = int.from_bytes(data[_PREFIX - 4 : _PREFIX].tobytes(), "little")
    layout = json.loads(data[_PREFIX : _PREFIX + length].tobytes())
    rows = {}
    for field, entry in layout.items():
        dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
        start = _PREFIX + length + entry["offset"]
        stop = start + dtype.itemsize * int(np.prod(shape))
        rows[field] = data[start:stop].view(dtype).reshape(shape)
    return rows
