"""The memory of each of several processes that train on one source in memory.

  python -m benchmarks.process_memory [--mib=900] [--processes=1,2,4]

Writes an .npz file of random images, plain and compressed, and trains on it for some steps in one
and in several processes, joined over the loopback interface. For each process: the memory of its
own (anonymous) at its peak and while it trains, less what it had before; and what of mapped files
is in memory, which the system may take back at any time. A file of 1 MiB shows what the programs
need without data. The losses of one file must be equal.

Writes `results/process_memory-cpu.json` and a table `.md`.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags

from .machine import machine
from .paths import result_path
from .records import write_record

__all__ = ["images", "main", "measure"]

_MIB = flags.DEFINE_integer("mib", 900, "Size of the images.")
_PROCESSES = flags.DEFINE_list("processes", ["1", "2", "4"], "Numbers of processes.")

_WORKER = f"{__package__}.process_memory_worker"
_SIDE = 64


def images(mib: int) -> np.ndarray:
    """Random images uint8 `[N, 64, 64]` of this size, which compress to a quarter."""
    count = mib * 2**20 // _SIDE**2
    return np.random.RandomState(0).randint(4, size=(count, _SIDE, _SIDE)).astype(np.uint8)


def measure(file: Path, count: int) -> list[dict[str, float]]:
    """What each of `count` processes measured, in MiB; see the worker.

    Raises:
      RuntimeError: one failed.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", _WORKER, str(file), *map(str, (count, number, port))],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    outputs = [worker.communicate()[0] for worker in workers]
    if any(worker.returncode for worker in workers):
        raise RuntimeError(f"exit codes {[worker.returncode for worker in workers]}")
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def _table(rows: list[dict[str, Any]]) -> str:
    head = ["file", "processes", "peak, MiB", "training, MiB", "of mapped files, MiB"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        worst = {k: max(one[k] for one in row["each"]) for k in ("peak", "training", "mapped")}
        numbers = [f"{value:,.0f}" for value in worst.values()]
        lines.append([row["file"], str(row["processes"]), *numbers])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main(argv: list[str]) -> None:
    """Measures, prints and writes."""
    del argv
    jax.config.update("jax_platforms", "cpu")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VAEJAX_CACHE"] = f"{folder}/cache"
        counts = [int(count) for count in _PROCESSES.value]
        for mib, save, numbers in (
            (1, np.savez, [1]),
            (_MIB.value, np.savez, counts),
            (_MIB.value, np.savez_compressed, counts),
        ):
            kind = f"{mib} MiB" + (", compressed" if save is np.savez_compressed else "")
            file = Path(folder) / "images.npz"
            save(file, images=images(mib))
            losses = []
            for count in numbers:
                each = measure(file, count)
                rows.append({"file": kind, "processes": count, "each": each})
                print(rows[-1], flush=True)
                losses += [one["nll"] for one in each]
            np.testing.assert_allclose(losses, losses[0], rtol=1e-5)
    path = result_path("process_memory-cpu.json")
    write_record(path, {"rows": rows, **machine()}, _table(rows))
    print(_table(rows))


if __name__ == "__main__":
    app.run(main)
