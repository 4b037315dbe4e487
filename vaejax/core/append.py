"""A text file that grows line by line, in a folder or in a bucket."""

import os
from pathlib import Path

from vaejax.core.files import write_bytes, write_errors
from vaejax.core.paths import is_bucket

__all__ = ["AppendedFile"]


class AppendedFile:
    """An existing file that lines are added to.

    An object in a bucket cannot grow: each `flush` writes it as a whole, and until then the new
    lines are in memory.

    Raises:
      WriteError: it cannot be written; also from its methods.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content: bytearray | None = None
        self._changed = False
        with write_errors(path):
            if is_bucket(path):
                self._content = bytearray(path.read_bytes())
            else:
                self._file = path.open("a", encoding="utf-8")

    def write(self, text: str) -> None:
        """Adds text."""
        if self._content is None:
            with write_errors(self._path):
                self._file.write(text)
        else:
            self._content += text.encode()
            self._changed = True

    def flush(self) -> None:
        """Returns when everything is on disk, or in the bucket."""
        if self._content is None:
            with write_errors(self._path):
                self._file.flush()
                os.fsync(self._file.fileno())
        elif self._changed:
            write_bytes(self._path, bytes(self._content))
            self._changed = False

    def close(self) -> None:
        """Closes the file; call `flush` before."""
        if self._content is None:
            self._file.close()
