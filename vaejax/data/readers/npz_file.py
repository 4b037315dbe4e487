"""Reading .npz files: what is not an array of numbers is refused with what to write instead."""

import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from vaejax.data.load_options import DEFAULT_MAX_BYTES
from vaejax.data.readers.npz_mapped import map_member, read_header

__all__ = ["check_size", "is_sparse_npz", "names_in_npz", "read_npz"]

# Arrays of the files that scipy.sparse.save_npz writes; one of these sets is complete.
_SPARSE = [
    {"format", "shape", "data", *more}
    for more in (("indices", "indptr"), ("row", "col"), ("offsets",), ("coords",))
]


def read_npz(
    file: Path,
    skip: Collection[str] = (),
    *,
    max_bytes: int = DEFAULT_MAX_BYTES,
    share: int | None = None,
) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name.

    Args:
      file: its path.
      skip: names that are not read.
      max_bytes: of all arrays that are read, as they are in memory.
      share: arrays of more bytes together are mapped; None for no limit.

    Raises:
      FileNotFoundError: the file does not exist.
      ValueError: it is not an .npz file, is damaged, holds Python objects, or claims more bytes
        than it can hold, or than `max_bytes`.
    """
    _check_is_npz(file)
    try:
        # Opened here, since NumPy leaves a damaged file open.
        with file.open("rb") as content, np.load(content, allow_pickle=False) as stored:
            size, keys = check_size(file, set(skip), max_bytes), set(stored.files) - set(skip)
            large = share is not None and size > share
            mapped = {key: map_member(file, f"{key}.npy") for key in keys} if large else {}
            return {
                key: _array(file, stored, key) if (array := mapped.get(key)) is None else array
                for key in stored.files
                if key in keys
            }
    except (_ObjectError, _SizeError):
        raise
    except Exception as error:  # sizes, headers and checksums of a damaged file are arbitrary
        raise ValueError(f"cannot read {file}: {_one_line(error)}") from error


def is_sparse_npz(file: Path) -> bool:
    """Whether `scipy.sparse.save_npz` wrote the file.

    Raises:
      FileNotFoundError, ValueError: as from `names_in_npz`.
    """
    names = set(names_in_npz(file))
    return any(parts <= names for parts in _SPARSE)


def names_in_npz(file: Path) -> list[str]:
    """The names of the arrays of an .npz file, without reading them.

    Raises:
      FileNotFoundError: the file does not exist.
      ValueError: it is not an .npz file, or is damaged.
    """
    _check_is_npz(file)
    try:
        with zipfile.ZipFile(file) as content:
            return [name.removesuffix(".npy") for name in content.namelist()]
    except Exception as error:
        raise ValueError(f"cannot read {file}: {_one_line(error)}") from error


def _check_is_npz(file: Path) -> None:
    if not file.is_file():
        raise FileNotFoundError(f"no file {file}: npz:PATH needs a file written by numpy.savez")
    if not zipfile.is_zipfile(file):
        raise ValueError(f"{file} is not an .npz file, or is truncated")


class _SizeError(ValueError):
    """The arrays are larger than the limit."""


class _ObjectError(ValueError):
    """An array holds Python objects."""


def check_size(file: Path, skip: set[str], max_bytes: int) -> int:
    """The bytes of the arrays.

    NumPy allocates what a header claims before it reads anything.

    Raises:
      ValueError: they would not fit, or one claims more bytes than are stored.
    """
    total = 0
    with zipfile.ZipFile(file) as members:
        for info in members.infolist():
            name = info.filename.removesuffix(".npy")
            if name in skip or name == info.filename:
                continue
            with members.open(info) as stream:
                shape, _, dtype = read_header(stream)
            if dtype.hasobject:
                continue  # refused when it is read
            claimed = math.prod(int(n) for n in shape) * dtype.itemsize
            if claimed > info.file_size:
                raise ValueError(
                    f"{info.filename} claims {claimed:,} bytes, but {info.file_size:,} are stored"
                )
            total += claimed
    if total > max_bytes:
        raise _SizeError(
            f"the arrays of {file} need {total / 2**30:.3g} GiB of memory, more than "
            f"data.max_bytes={max_bytes} ({max_bytes / 2**30:.3g} GiB): raise it, or prepare the "
            "data as a folder of images or with TFDS, which are read as needed"
        )
    return total


def _array(file: Path, stored: Any, key: str) -> np.ndarray:
    try:
        value = stored[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise _ObjectError(
            f"{key!r} in {file} holds Python objects, such as rows of different lengths, None, or "
            "a sparse matrix, which are not read: write a rectangular array of one numeric type, "
            f"numpy.savez(FILE, {key}=numpy.stack(rows).astype('float32'))"
        ) from error
    if not isinstance(value, np.ndarray):  # the file has a member that is not an array
        raise ValueError(f"{key!r} is not an array")
    return value


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]} ..."
