"""One competitor, in a process of its own: `python -m benchmarks.peers.worker CASE WAY`.

Says `{"parameters": N}` after its first steps; then, for every line with a number of steps on its
standard input, how many seconds they took. What libraries print goes to standard error.
"""

import json
import os
import sys
import time

from benchmarks.peers.cases import UNIT
from benchmarks.peers.ways import WAYS


def main(case: str, way: str) -> None:
    """Serves until its input ends."""
    said = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(value: object) -> None:
        said.write(json.dumps(value) + "\n")
        said.flush()

    chosen = WAYS[case][way]
    go, parameters = chosen(case)
    go(1 if case == "search" else UNIT)
    say({"parameters": parameters})
    for line in sys.stdin:
        begun = time.perf_counter()
        go(int(line))
        say(time.perf_counter() - begun)


if __name__ == "__main__":
    main(*sys.argv[1:])
