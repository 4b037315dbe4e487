"""Competitors in processes of their own, in turn; and which rounds count."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks.peers.cases import CASES, UNIT
from benchmarks.peers.ways import OURS, WAYS


class Worker:
    """A competitor's process."""

    def __init__(self, case: str, name: str, cache: str) -> None:
        environment = {**os.environ, **WAYS[case][name].environment}
        environment |= {
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        }
        begun = time.perf_counter()
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers.worker", case, name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True,
            env=environment,
        )  # fmt: skip
        self.parameters = self._hear()["parameters"]
        self.seconds_to_start = time.perf_counter() - begun
        self._unit = 1 if case == "search" else UNIT
        self.steps = self._unit

    def _hear(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._said.seek(0)
            raise RuntimeError(self._said.read()[-2000:])
        return json.loads(line)

    def milliseconds(self) -> float:
        """Of a step, over `steps` of them."""
        self._process.stdin.write(f"{self.steps}\n")
        self._process.stdin.flush()
        return 1e3 * self._hear() / self.steps

    def calibrate(self, seconds: float) -> None:
        """Takes as many steps at once as fit into so many seconds."""
        self.milliseconds()
        count = seconds / (1e-3 * self.milliseconds()) / self._unit
        self.steps = self._unit * max(1, round(count))

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


def _gigaflops() -> float:
    """The machine's rate at this moment, by a product of two matrices."""
    a = np.ones((1024, 1024), np.float32)
    begun = time.perf_counter()
    for _ in range(4):
        a @ a
    return 4 * 2 * 1024**3 / (time.perf_counter() - begun) / 1e9


def quiet(
    rounds: list[tuple[float, dict[str, float]]], best: float
) -> tuple[list[dict[str, float]], float]:
    """The rounds whose lowest rate is within a tenth of the best one, and that one.

    If there are none, within a tenth of the best among them.
    """
    highest = max(rate for rate, _ in rounds)
    best = max(best, highest) if highest > 0.9 * best else highest
    return [times for rate, times in rounds if rate > 0.9 * best], highest


def compare(case: str, rounds: int, seconds: float, best: float) -> dict[str, Any]:
    """One case of the record.

    Args:
      case: its name.
      rounds: how many shall count.
      seconds: of each competitor in a round, roughly.
      best: the highest rate of the machine seen so far, in GFLOP/s.
    """
    workers: dict[str, Worker] = {}
    result: dict[str, Any] = {"what": CASES[case].what, "failed": {}}
    with tempfile.TemporaryDirectory() as cache:
        try:
            for name in WAYS[case]:
                try:
                    workers[name] = Worker(case, name, cache)
                except RuntimeError as error:  # such as torch.compile without a compiler
                    if name == OURS:
                        raise
                    result["failed"][name] = str(error)
                    print(f"    {name} does not run: {str(error).strip().splitlines()[-1]}")
            again = Worker(case, OURS, cache)
            again.close()
            for worker in workers.values():
                worker.calibrate(seconds)
            everything: list[tuple[float, dict[str, float]]] = []
            _gigaflops()
            while len(everything) < 3 * rounds:
                lowest, once = _gigaflops(), {}
                for name, worker in workers.items():
                    once[name] = worker.milliseconds()
                    lowest = min(lowest, _gigaflops())
                everything.append((lowest, once))
                kept, rate = quiet(everything, best)
                if len(kept) >= rounds and rate > 0.9 * best:
                    break
        finally:
            for worker in workers.values():
                worker.close()
    kept, rate = quiet(everything, best)
    times = {name: [once[name] for once in kept] for name in workers}
    ours = times[OURS]
    result |= {"rounds": len(kept), "rounds_in_all": len(everything), "gigaflops": rate}
    result["ways"] = {
        name: {
            "whose": WAYS[case][name].whose,
            "parameters": workers[name].parameters,
            "seconds_to_start": workers[name].seconds_to_start,
            "ms_per_step": statistics.median(times[name]),
            "over_ours": spread(times[name], ours),
            "over_ours_in_all": statistics.median(
                once[name] / once[OURS] for _, once in everything
            ),
        }
        for name in workers
    }
    result["ways"][OURS]["seconds_to_start_cached"] = again.seconds_to_start
    for whose in dict.fromkeys(way["whose"] for way in result["ways"].values()):
        group = [n for n, way in result["ways"].items() if way["whose"] == whose]
        best = min(group, key=lambda n: result["ways"][n]["ms_per_step"])
        result[f"best of {whose}"] = best
    if case == "search":
        from benchmarks.peers.ours import search_memory

        result["bytes_beyond_inputs"] = search_memory(case)
    return result


def spread(theirs: list[float], ours: list[float]) -> list[float]:
    """Median, lowest and highest ratio."""
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
    return [statistics.median(ratios), min(ratios), max(ratios)]
