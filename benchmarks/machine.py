"""Where a result was measured: processor, versions, commit."""

import os
import platform
import re
import subprocess
from pathlib import Path

import jax

_ROOT = Path(__file__).parent.parent


def processor() -> str:
    """The name of the CPU, as the system has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*: (.+)$", lines, re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()


def commit() -> str:
    """The commit of the code, `+` if tracked files differ from it; "unknown" outside of git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(_ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("diff", "HEAD", "--stat") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def device_name() -> str:
    """The first device's kind as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", jax.devices()[0].device_kind.lower()).strip("-")


def machine() -> dict[str, str | int]:
    """What a result file says of where it came from.

    `cores` are those that the process may run on, not those of the machine.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "device": jax.devices()[0].device_kind,
        "processor": processor(),
        "cores": cores or 0,
        "jax": jax.__version__,
        "commit": commit(),
    }
