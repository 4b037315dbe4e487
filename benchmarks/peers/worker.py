"""The process of one competitor: `python -m benchmarks.peers.worker CASE NAME`.

Writes `{"parameters": N}` to standard output after its first steps. Then, for every line with a
number of steps on standard input, writes the seconds that they took. Output of libraries goes to
standard error.
"""

import json
import os
import sys
import time

from .cases import UNIT
from .competitors import COMPETITORS

__all__ = ["main"]


def main(case: str, name: str) -> None:
    """Runs until standard input ends."""
    stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def send(value: object) -> None:
        stdout.write(json.dumps(value) + "\n")
        stdout.flush()

    take_steps, parameters = COMPETITORS[case][name].start(case)
    take_steps(1 if case == "search" else UNIT)
    send({"parameters": parameters})
    for line in sys.stdin:
        start = time.perf_counter()
        take_steps(int(line))
        send(time.perf_counter() - start)


if __name__ == "__main__":
    main(*sys.argv[1:])
