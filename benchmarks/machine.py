"""Where a result was measured: processor, versions, commit; and processes that are timed."""

import compileall
import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

import jax

import vaejax

from .paths import root

__all__ = ["commit", "device_name", "environment_as_installed", "machine", "processor"]


def processor() -> str:
    """The name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    model = re.search(r"^model name\s*: (.+)$", lines, re.MULTILINE)
    return model.group(1).strip() if model else platform.machine()


def commit() -> str:
    """The commit of the code, with `+` if tracked files differ from it.

    The version if vaejax is installed; "unknown" in a checkout without git.
    """
    checkout = root()
    if checkout is None:
        return metadata.version("vaejax")

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(checkout), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("diff", "HEAD", "--stat") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def device_name() -> str:
    """The first device's kind as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", jax.devices()[0].device_kind.lower()).strip("-")


def machine() -> dict[str, str | int]:
    """The origin of a result, for its file.

    `cores` is the number of cores that the process may use.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "device": jax.devices()[0].device_kind,
        "processor": processor(),
        "cores": cores or 0,
        "jax": jax.__version__,
        "commit": commit(),
    }


def environment_as_installed(**variables: str) -> dict[str, str]:
    """Variables for a process whose start is timed; modules are compiled, as pip does it.

    A checkout has no compiled modules where Python is told not to write them, and every process
    would compile those that it imports anew.
    """
    compileall.compile_dir(str(Path(vaejax.__file__).parent), quiet=1)
    return {**os.environ, **variables}
