"""Arrays of .npz files that are mapped into memory, for processes that may not hold all of them."""

import zipfile
import zlib
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from vaejax.data.row_storage import allocate_rows, release

__all__ = ["NpyHeader", "map_member", "read_header"]

_CHUNK = 2**24  # bytes
_LOCAL_HEADER = 30  # bytes, before the name and the extra field of a member


class NpyHeader(NamedTuple):
    """The header of an array.

    Attributes:
      shape: of the array.
      fortran: whether the first index changes fastest.
      dtype: of the array.
    """

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype


def read_header(stream: IO[bytes]) -> NpyHeader:
    """The header of a .npy file, of which the stream is then behind.

    Raises:
      ValueError: it has another form.
    """
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return NpyHeader(*np.lib.format.read_array_header_1_0(stream))
    return NpyHeader(*np.lib.format.read_array_header_2_0(stream))


def map_member(file: Path, name: str) -> np.ndarray | None:
    """An array of an .npz file, mapped; None if it has to be read as a whole.

    What is stored without compression is mapped where it is; what is compressed, in a file that
    vanishes with the array.

    Args:
      file: path of the .npz file.
      name: of the member.

    Raises:
      ValueError: the checksum differs.
      OSError: the file cannot be read, or another one not be written.
    """
    with zipfile.ZipFile(file) as members:
        info = members.getinfo(name)
        with members.open(info) as stream:
            header = read_header(stream)
            if header.dtype.hasobject or header.fortran or 0 in header.shape or not header.shape:
                return None
            if info.compress_type != zipfile.ZIP_STORED:
                return _unpacked(stream, header)
    return _in_place(file, info, header)


def _unpacked(stream: IO[bytes], header: NpyHeader) -> np.ndarray:
    rows = allocate_rows({"": (header.shape, header.dtype)}, on_disk=True)
    octets = rows[""].reshape(-1).view(np.uint8)
    for start in range(0, octets.size, _CHUNK):
        part = octets[start : start + _CHUNK]
        part[:] = np.frombuffer(stream.read(part.size), np.uint8)  # the end checks the sum
    release(rows)
    return rows[""]


def _in_place(file: Path, info: zipfile.ZipInfo, header: NpyHeader) -> np.ndarray:
    with file.open("rb") as content:
        content.seek(info.header_offset)
        local = content.read(_LOCAL_HEADER)
        lengths = np.frombuffer(local[26:30], "<u2").tolist()
        begin = info.header_offset + _LOCAL_HEADER + sum(lengths)
        content.seek(begin)
        read_header(content)
        start = content.tell()
    octets, checksum = np.memmap(file, np.uint8, "r", begin, (info.file_size,)), 0
    for at in range(0, octets.size, _CHUNK):
        checksum = zlib.crc32(octets[at : at + _CHUNK].data, checksum)
    if checksum != info.CRC:
        raise ValueError(f"bad checksum of {info.filename}")
    mapped = np.memmap(file, header.dtype, "r", start, header.shape)
    release({"": octets})
    return mapped
