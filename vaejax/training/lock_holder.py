"""Who holds the lock file of a working directory, and whether that process is gone."""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path

from vaejax.core.paths import is_bucket
from vaejax.core.types import Json
from vaejax.training.bucket_lock import seconds_since_writing

__all__ = ["GONE_SECONDS", "holder", "identity", "read_lock"]

GONE_SECONDS = 300.0


def identity() -> dict[str, Json]:
    """Host, process and start of this process."""
    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "process": pid,
        "process_start": _start_of(pid),
        "system": _system(),
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
        "token": uuid.uuid4().hex,
    }


def _system() -> str:
    """Identifies the processes that a process number counts: those of a boot, in a container."""
    parts = []
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _start_of(pid: int) -> str | None:
    """When a process started, in clock ticks; `''` where that is unknown; None if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except OSError:
            return ""
        return ""
    fields = stat.rpartition(")")[2].split()  # behind the name, which may hold anything
    return None if fields[0] in "ZX" else fields[19]


def read_lock(path: Path) -> dict[str, Json]:
    """The content of a lock file; `{}` if it cannot be understood."""
    try:
        value = json.loads(path.read_bytes())
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _seconds_since_renewal(path: Path) -> float:
    """By the clock of the file system, which may differ from this host's."""
    probe = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.clock")
    if is_bucket(path):
        return seconds_since_writing(path, probe.name)
    try:
        probe.touch()
        now = probe.stat().st_mtime
    except OSError:
        now = time.time()
    finally:
        probe.unlink(missing_ok=True)
    return now - path.stat().st_mtime


def holder(path: Path) -> dict[str, Json] | None:
    """The content of the lock file of a process that is not gone; None if there is none."""
    try:
        content = read_lock(path)
        here = identity()
        same_processes = content.get("system") == here["system"] != "" or (
            not here["system"] and content.get("host") == here["host"]
        )
        if same_processes and isinstance(content.get("process"), int):
            start = _start_of(content["process"])
            alive = start is not None and start == content.get("process_start")
        else:
            alive = _seconds_since_renewal(path) < GONE_SECONDS
    except FileNotFoundError:
        return None
    return content if alive else None
