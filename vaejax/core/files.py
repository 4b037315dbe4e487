"""Writing files: each is written beside its place and renamed, so that no reader sees half of one.

A disk that is full, a limit on the size of files, or a folder that may not be written to ends in a
`WriteError`, whose message is one line with the path. In a bucket an object is written as a whole
by itself; there is nothing to rename.
"""

import errno
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from vaejax.core.paths import failures, is_bucket
from vaejax.core.types import Json

__all__ = [
    "WriteError",
    "as_os_error",
    "describe",
    "finite_or_null",
    "make_folder",
    "os_error_in",
    "read_json",
    "remove_temporaries",
    "replacing",
    "to_json",
    "write_bytes",
    "write_errors",
    "write_files",
    "write_json",
    "write_text",
]

_active: set[Path] = set()  # temporary files that are being written
_ABANDONED = 600.0  # seconds after which a temporary file belongs to a process that was killed

_REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up: free some space and run the same command again",
    errno.EFBIG: "the file would exceed the limit on the size of files (ulimit -f)",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "permission denied: choose a folder that may be written to",
    errno.EPERM: "permission denied: choose a folder that may be written to",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EEXIST: "a file is in the place of a folder",
    errno.ENAMETOOLONG: "the name is too long",
}


class WriteError(OSError):
    """A file cannot be written. The message names it in one line."""

    def __init__(self, path: str | os.PathLike[str], error: OSError) -> None:
        """Describes a failed write.

        Args:
          path: of the file.
          error: what the operating system answered.
        """
        super().__init__(f"cannot write {path}: {describe(error)}")
        self.errno, self.path = error.errno, str(path)


def describe(error: OSError) -> str:
    """What an error of the operating system means, and what helps."""
    known = _REMEDIES.get(error.errno or 0)
    return known or error.strerror or str(error).splitlines()[0]


def os_error_in(text: str) -> OSError | None:
    """The error of the operating system that the message of a library quotes, if it is known."""
    for number in _REMEDIES:
        if os.strerror(number).lower() in text.lower():
            return OSError(number, os.strerror(number))
    return None


@contextmanager
def write_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns errors of the operating system, or of a bucket, into a `WriteError` of this path."""
    try:
        yield
    except WriteError:
        raise
    except failures(path) as error:
        raise WriteError(path, as_os_error(error)) from error


def as_os_error(error: Exception) -> OSError:
    """An error as one of the operating system, with its first line."""
    if isinstance(error, OSError):
        return error
    return OSError(next(iter(str(error).strip().splitlines()), "") or type(error).__name__)


def make_folder(path: Path) -> None:
    """Creates a folder and those above it, if they are missing. A bucket has no folders.

    Raises:
      WriteError: it cannot be created.
    """
    if is_bucket(path):
        return
    with write_errors(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix; the file there replaces `path` at the end.

    If the block fails, the temporary file is removed and `path` is as it was. For an object in a
    bucket the temporary file is on this machine.

    Raises:
      WriteError: the file cannot be written.
    """
    if is_bucket(path):
        with tempfile.TemporaryDirectory(prefix="vaejax-") as folder:
            local = Path(folder) / path.name
            yield local
            with write_errors(path):
                path.write_bytes(local.read_bytes())
        return
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    with write_errors(path):
        _remove_abandoned(path)
        _active.add(temporary)
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())  # a disk may also run full at this moment
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            _active.discard(temporary)


def remove_temporaries() -> None:
    """Removes the temporary files that are being written, when the process is about to end."""
    for temporary in list(_active):
        temporary.unlink(missing_ok=True)


def _remove_abandoned(path: Path) -> None:
    """Removes temporary files of `path` that killed processes left behind."""
    for leftover in path.parent.glob(f".{path.stem}.*.tmp{path.suffix}"):
        try:
            if time.time() - leftover.stat().st_mtime > _ABANDONED:
                leftover.unlink()
        except OSError:  # another process was faster, or may not
            continue


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file as a whole.

    Raises:
      WriteError: it cannot be written.
    """
    if is_bucket(path):
        with write_errors(path):
            path.write_bytes(content)
        return
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Writes files that belong together: all of them are on disk before the first is replaced.

    Args:
      folder: which is created if it is missing.
      contents: by file name, in the order in which they are replaced.

    Raises:
      WriteError: one of them cannot be written; then all files are as they were (in a bucket,
        those that come later in the order).
    """
    if is_bucket(folder):
        for name, content in contents.items():
            write_bytes(folder / name, content)
        return
    make_folder(folder)
    names = {name: folder / f".{name}.{os.getpid()}.tmp" for name in contents}
    _active.update(names.values())
    try:
        for name, temporary in names.items():
            with write_errors(folder / name), temporary.open("wb") as file:
                file.write(contents[name])
                file.flush()
                os.fsync(file.fileno())
        for name, temporary in names.items():
            with write_errors(folder / name):
                temporary.replace(folder / name)
    finally:
        for temporary in names.values():
            temporary.unlink(missing_ok=True)
            _active.discard(temporary)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8 as a whole.

    Raises:
      WriteError: it cannot be written.
    """
    write_bytes(path, text.encode())


def finite_or_null(value: Json) -> Json:
    """The value with null for every number that is not finite, since JSON has no such numbers.

    NumPy's and JAX's numbers and arrays become Python's.
    """
    if isinstance(value, Mapping):
        return {str(k): finite_or_null(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_null(v) for v in value]
    if isinstance(value, np.generic | np.ndarray) or hasattr(value, "__array__"):
        return finite_or_null(np.asarray(value).tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def read_json(path: Path) -> dict[str, Json]:
    """The content of a JSON file that holds an object.

    Raises:
      ValueError: it holds anything else, since it is damaged or another program's.
      OSError: it cannot be read.
    """
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}): copy it from a backup, or delete it"
        ) from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} should hold a JSON object, found {type(value).__name__}")
    return value


def to_json(value: Json) -> str:
    """The text of a JSON file; a number that is not finite becomes null."""
    return json.dumps(finite_or_null(value), indent=2, allow_nan=False) + "\n"


def write_json(path: Path, value: Json) -> None:
    """Writes a JSON file as a whole; a number that is not finite becomes null.

    Raises:
      WriteError: it cannot be written.
    """
    write_text(path, to_json(value))
