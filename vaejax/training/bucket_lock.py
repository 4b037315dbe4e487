"""The lock of a working directory in a bucket, which has neither links nor times that can be set.

An object is created if there is none, in one request that the store decides. To renew a lock is to
write it again. Two processes that find the same abandoned lock at the same moment may both replace
it; whoever loses notices at its next checkpoint.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from vaejax.core.paths import file_system
from vaejax.core.types import Json

__all__ = ["claim_object", "renew_object", "seconds_since_writing"]


def claim_object(
    path: Path,
    content: Mapping[str, Json],
    holder: Callable[[Path], dict[str, Json] | None],
) -> dict[str, Json] | None:
    """Writes a lock, unless there is one of a holder who is not gone.

    Args:
      path: of the lock.
      content: of this process, with its `token`.
      holder: `path -> content` of the lock of a holder who is not gone; None if there is none.

    Returns:
      The content of the other lock; None if this one is written.
    """
    for _ in range(10):
        if not path.exists() and _create(path, json.dumps(content, indent=2).encode()):
            return None
        if (other := holder(path)) is not None:
            return other
        path.unlink(missing_ok=True)
    raise OSError("it is taken over again and again")


def _create(path: Path, content: bytes) -> bool:
    """Whether there was no object, and now is this one."""
    try:
        file_system(path).pipe_file(os.fspath(path), content, mode="create")
    except FileExistsError:
        return False
    return True


def renew_object(path: Path) -> None:
    """Sets the time of an object to now."""
    path.write_bytes(path.read_bytes())


def seconds_since_writing(path: Path, name: str) -> float:
    """How long ago an object was written, by the clock of the store.

    Args:
      path: of the object.
      name: of an object beside it, which is written and removed.
    """
    files, probe = file_system(path), path.with_name(name)
    try:
        probe.write_bytes(b"")
        now = files.modified(os.fspath(probe))
    finally:
        probe.unlink(missing_ok=True)
    return float((now - files.modified(os.fspath(path))).total_seconds())
