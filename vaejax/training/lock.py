"""One writer at a time in a working directory: the file `lock.json`, while a training writes there.

It names the host and the process of its holder, which renews its modification time. It is taken
over if the holder is gone, see `lock_holder`: on this host, if no such process runs; on another
host, if the file was not renewed for five minutes. In a bucket it is an object, see `bucket_lock`.
"""

import atexit
import contextlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from vaejax.core.files import WriteError, make_folder, write_errors
from vaejax.core.paths import failures, is_bucket
from vaejax.core.types import Json
from vaejax.training.bucket_lock import claim_object, renew_object
from vaejax.training.lock_holder import holder, identity, read_lock

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "FILE",
    "LockedError",
    "check_held",
    "check_unlocked",
    "lock",
    "release_all",
    "workdir_locks",
]

FILE = "lock.json"
RENEW_SECONDS = 20.0


class LockedError(RuntimeError):
    """Another process writes to the working directory."""


class _Held:
    """A lock of this process, renewed by a thread."""

    def __init__(self, path: Path, token: str) -> None:
        self.path, self.thread, self._token = path, threading.get_ident(), token
        self._ended = threading.Event()
        self._writing = threading.Lock()  # renewing an object would bring a removed one back
        threading.Thread(target=self._renew, name="renew lock", daemon=True).start()

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_SECONDS):
            with self._writing, contextlib.suppress(failures(self.path)):
                if not self._ended.is_set() and read_lock(self.path).get("token") == self._token:
                    renew_object(self.path) if is_bucket(self.path) else os.utime(self.path)

    def check(self) -> None:
        """Raises LockedError if another process has taken the lock over."""
        try:
            content = read_lock(self.path)
        except FileNotFoundError:
            return
        if content.get("token") != self._token:
            raise _refuse(self.path.parent, content)

    def release(self) -> None:
        """Removes the file, if it still is this process's own."""
        self._ended.set()
        with self._writing, contextlib.suppress(failures(self.path)):
            if read_lock(self.path).get("token") == self._token:
                self.path.unlink()


_held: dict[Path, _Held] = {}


def _refuse(workdir: Path, content: dict[str, Json]) -> LockedError:
    host, process = content.get("host", "unknown"), content.get("process", "unknown")
    return LockedError(
        f"{workdir} is being trained in by process {process} on host {host} since "
        f"{content.get('time', 'an unknown time')}: wait for its end, stop it, or choose another "
        "--workdir"
    )


def _lock_file(workdir: Path) -> Path:
    return (workdir if is_bucket(workdir) else workdir.absolute()) / FILE


def check_unlocked(workdir: Path) -> None:
    """Raises LockedError if another process trains in the directory. Changes nothing."""
    if jax.process_index() != 0:
        return  # the lock may be that of this run's first process
    path = _lock_file(workdir)
    if path not in _held and (content := holder(path)) is not None:
        raise _refuse(workdir, content)


def check_held(workdir: Path) -> None:
    """Raises LockedError if this process's lock was taken over, while it was suspended, say."""
    if (held := _held.get(_lock_file(workdir))) is not None:
        held.check()


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Lets the processes of a host look at the lock file one after another."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError, AttributeError):  # a system without such locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def lock(workdir: Path) -> None:
    """Makes this process the only one that trains in a working directory, until it is released.

    A second call of the same thread has no effect. With several processes of one training the first
    holds the lock.

    Raises:
      LockedError: another process, or another thread, trains there.
      WriteError: the directory may not be written to.
    """
    if jax.process_index() != 0:
        return
    path = _lock_file(workdir)
    if path in _held:
        if _held[path].thread != threading.get_ident():
            raise _refuse(
                workdir, {**read_lock(path), "process": f"{os.getpid()} (another thread)"}
            )
        return
    make_folder(path.parent)
    content = identity()
    if is_bucket(path):
        with write_errors(path):
            other = claim_object(path, content, holder)
        if other is not None:
            raise _refuse(workdir, other)
    else:
        _claim_file(workdir, path, content)
    if not _held:
        atexit.register(release_all)
    _held[path] = _Held(path, content["token"])


def _claim_file(workdir: Path, path: Path, content: dict[str, Json]) -> None:
    own = path.with_name(f".{FILE}.{content['token']}")
    try:
        with write_errors(path), _one_at_a_time(path.parent):
            own.write_text(json.dumps(content, indent=2) + "\n")
            _claim(workdir, path, own)
    finally:
        own.unlink(missing_ok=True)


def _claim(workdir: Path, path: Path, own: Path) -> None:
    """Puts `own` in the place of `path`, unless a holder is there who is not gone."""
    for _ in range(10):
        try:
            os.link(own, path)  # fails if there is one, on network file systems too
            return
        except FileExistsError:
            pass
        except OSError:  # no links on this file system
            with contextlib.suppress(FileExistsError), path.open("x") as file:
                file.write(own.read_text())
                return
        if (content := holder(path)) is not None:
            raise _refuse(workdir, content)
        # Renamed rather than removed: whoever is second finds nothing to rename.
        gone = own.with_suffix(".gone")
        with contextlib.suppress(FileNotFoundError):
            path.rename(gone)
        if gone.exists() and holder(gone) is not None:  # of a process that was faster
            with contextlib.suppress(OSError):
                os.link(gone, path)
        gone.unlink(missing_ok=True)
    raise WriteError(path, OSError("it is taken over again and again"))


def release_all() -> None:
    """Releases the locks of this process."""
    for path in list(_held):
        _held.pop(path).release()


@contextmanager
def workdir_locks() -> Iterator[None]:
    """Releases at its end what `lock` locked inside."""
    before = set(_held)
    try:
        yield
    finally:
        for path in set(_held) - before:
            if _held[path].thread == threading.get_ident():
                _held.pop(path).release()
