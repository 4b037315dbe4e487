"""Interleaved rounds of competitors in processes of their own, and the rounds that count."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from ..machine import environment_as_installed
from .cases import CASES, UNIT
from .competitors import COMPETITORS, VAEJAX
from .worker import clock

__all__ = ["compare", "quiet", "spread"]


class _Worker:
    """A competitor's process; see `worker`."""

    def __init__(self, case: str, name: str, cache: str) -> None:
        environment = environment_as_installed(**COMPETITORS[case][name].environment) | {
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        }
        start = time.perf_counter()
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker", case, name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, text=True,
            env=environment,
        )  # fmt: skip
        self.parameters = self._receive()["parameters"]
        self.seconds_to_start = time.perf_counter() - start
        self._unit = 1 if case == "search" else UNIT
        self.steps = self._unit

    def _receive(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._stderr.seek(0)
            raise RuntimeError(self._stderr.read()[-2000:])
        return json.loads(line)

    def _ask(self, line: object) -> Any:
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._receive()

    def milliseconds(self) -> float:
        """Time per step, over `steps` steps."""
        return 1e3 * self._ask(self.steps) / self.steps

    def bytes(self) -> int | None:
        """Memory of the steps, beyond the libraries'; see `worker.memory`."""
        return self._ask("memory")

    def calibrate(self, seconds: float) -> None:
        """Sets `steps` so that they take about this many seconds."""
        self.milliseconds()
        count = seconds / (1e-3 * self.milliseconds()) / self._unit
        self.steps = self._unit * max(1, round(count))

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


def _gigaflops() -> float:
    """The machine's current rate, measured by a matrix product."""
    a, now = np.ones((1024, 1024), np.float32), clock()
    start = now()
    for _ in range(4):
        a @ a
    return 4 * 2 * 1024**3 / (now() - start) / 1e9


def quiet(
    rounds: list[tuple[float, dict[str, float]]], best: float
) -> tuple[list[dict[str, float]], float]:
    """The rounds that count, and the highest rate among all rounds.

    Rounds count if their lowest rate is within 10 % of the best rate; if none is, within 10 % of
    the highest rate among them.

    Args:
      rounds: lowest rate and times by competitor, of each round.
      best: the highest rate of the machine so far.
    """
    highest = max(rate for rate, _ in rounds)
    best = max(best, highest) if highest > 0.9 * best else highest
    return [times for rate, times in rounds if rate > 0.9 * best], highest


def compare(case: str, rounds: int, seconds: float, best: float) -> dict[str, Any]:
    """One case of the record.

    Args:
      case: its name.
      rounds: number of rounds that must count.
      seconds: approximate length of each competitor's part of a round.
      best: the highest rate of the machine so far, in GFLOP/s.
    """
    workers: dict[str, _Worker] = {}
    result: dict[str, Any] = {"what": CASES[case].what, "failed": {}}
    with tempfile.TemporaryDirectory() as cache:
        try:
            for name in COMPETITORS[case]:
                try:
                    workers[name] = _Worker(case, name, cache)
                except RuntimeError as error:  # such as torch.compile without a compiler
                    if name == VAEJAX:
                        raise
                    reason = str(error).strip().splitlines()[-1]
                    result["failed"][name] = reason
                    print(f"    {name} does not run: {reason}")
            cached = _Worker(case, VAEJAX, cache)
            cached.close()
            measured = _measure_rounds(workers, rounds, seconds, best)
            needed = {} if case == "search" else {name: w.bytes() for name, w in workers.items()}
        finally:
            for worker in workers.values():
                worker.close()
    counted, rate = quiet(measured, best)
    result |= {"rounds": len(counted), "rounds_in_all": len(measured), "gigaflops": rate}
    result["ways"] = {
        name: {
            "whose": COMPETITORS[case][name].group,
            "parameters": workers[name].parameters,
            "seconds_to_start": workers[name].seconds_to_start,
            "bytes": needed.get(name),
            "ms_per_step": statistics.median(times[name] for times in counted),
            "over_ours": spread(
                [times[name] for times in counted], [times[VAEJAX] for times in counted]
            ),
            "over_ours_in_all": statistics.median(
                times[name] / times[VAEJAX] for _, times in measured
            ),
        }
        for name in workers
    }
    result["ways"][VAEJAX]["seconds_to_start_cached"] = cached.seconds_to_start
    for group in dict.fromkeys(row["whose"] for row in result["ways"].values()):
        members = [name for name, row in result["ways"].items() if row["whose"] == group]
        fastest = min(members, key=lambda name: result["ways"][name]["ms_per_step"])
        result[f"best of {group}"] = fastest
    from .vaejax_training import product_flops, search_memory

    result["product_flops"] = product_flops(case)
    if case == "search":
        result["bytes_beyond_inputs"] = search_memory(case)
    return result


def _measure_rounds(
    workers: dict[str, _Worker], rounds: int, seconds: float, best: float
) -> list[tuple[float, dict[str, float]]]:
    """Rounds until enough of them count: lowest rate, and milliseconds per step by competitor."""
    for worker in workers.values():
        worker.calibrate(seconds)
    measured: list[tuple[float, dict[str, float]]] = []
    _gigaflops()
    while len(measured) < 3 * rounds:
        lowest, times = _gigaflops(), {}
        for name, worker in workers.items():
            times[name] = worker.milliseconds()
            lowest = min(lowest, _gigaflops())
        measured.append((lowest, times))
        counted, rate = quiet(measured, best)
        if len(counted) >= rounds and rate > 0.9 * best:
            break
    return measured


def spread(times: list[float], references: list[float]) -> list[float]:
    """Median, lowest and highest ratio of the times to the references."""
    ratios = [a / b for a, b in zip(times, references, strict=True)]
    return [statistics.median(ratios), min(ratios), max(ratios)]
