"""The process of one competitor: `python -m benchmarks.peers.worker CASE NAME`.

Writes `{"parameters": N}` to standard output after its first steps. Then, for every line with a
number of steps on standard input, writes the seconds that they took by `clock`, and for the line
`memory` the bytes that `UNIT` steps need, or null. Output of libraries goes to standard error.
"""

import ctypes
import importlib
import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .cases import UNIT
from .competitors import COMPETITORS

__all__ = ["CLOCK", "clock", "main", "memory"]

CLOCK = "VAEJAX_BENCHMARK_CLOCK"  # variable of the process: "wall" or "processor"

_PROCESS = Path("/proc/self")


def clock() -> Callable[[], float]:
    """Seconds that have passed, or that the threads of this process were computing."""
    return time.process_time if os.environ.get(CLOCK) == "processor" else time.perf_counter


def _resident(name: str = "VmRSS") -> int | None:
    """Bytes of this process in memory, or their maximum (`VmHWM`); None but on Linux."""
    file = _PROCESS / "status"
    found = re.search(rf"{name}:\s*(\d+) kB", file.read_text()) if file.exists() else None
    return 1024 * int(found[1]) if found else None


def memory(take_steps: Callable[[int], None], libraries: int | None) -> int | None:
    """The largest number of bytes that this process has in memory during `UNIT` steps.

    Args:
      take_steps: has taken steps, so that everything is compiled; what that left is given back.
      libraries: bytes before the model was made, which do not count; None if unknown.
    """
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        (_PROCESS / "clear_refs").write_text("5")  # resets the maximum
    except OSError:
        return None
    take_steps(UNIT)
    highest = _resident("VmHWM")
    return None if highest is None or libraries is None else highest - libraries


def main(case: str, name: str) -> None:
    """Runs until standard input ends."""
    stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def send(value: object) -> None:
        stdout.write(json.dumps(value) + "\n")
        stdout.flush()

    competitor = COMPETITORS[case][name]
    importlib.import_module(f".{competitor.module}", __package__)
    libraries = _resident()
    now = clock()
    take_steps, parameters = competitor.start(case)
    take_steps(1 if case == "search" else UNIT)
    send({"parameters": parameters})
    for line in sys.stdin:
        if line.strip() == "memory":
            send(memory(take_steps, libraries))
            continue
        start = now()
        take_steps(int(line))
        send(now() - start)


if __name__ == "__main__":
    main(*sys.argv[1:])
