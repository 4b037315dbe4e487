"""What a process prints, in a bucket: a file on this machine that is uploaded as it grows."""

import atexit
import contextlib
import tempfile
import threading
from pathlib import Path

from vaejax.core.files import write_errors

__all__ = ["upload_logs", "uploaded"]

_SECONDS = 30.0
_logs: dict[Path, tuple[Path, int]] = {}  # object -> its file here, and the size uploaded


def uploaded(path: Path) -> Path:
    """A file on this machine that is uploaded every half minute, and at the end of the process.

    Args:
      path: of the object in a bucket, which is written at once.

    Raises:
      WriteError: it cannot be written.
    """
    local = Path(tempfile.mkdtemp(prefix="vaejax-")) / path.name
    local.touch()
    with write_errors(path):
        path.write_bytes(b"")
    if not _logs:
        threading.Thread(target=_upload_often, name="upload logs", daemon=True).start()
        atexit.register(upload_logs)
    _logs[path] = (local, 0)
    return local


def _upload_often() -> None:
    while not threading.Event().wait(_SECONDS):
        upload_logs()


def upload_logs() -> None:
    """Uploads what was added; a failure is left to the next time."""
    for path, (local, size) in list(_logs.items()):
        content = local.read_bytes()
        if len(content) != size:
            with contextlib.suppress(Exception):
                path.write_bytes(content)
                _logs[path] = (local, len(content))
