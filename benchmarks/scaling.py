"""The cost of more devices: communication of a compiled step, and a step in several processes.

  python -m benchmarks.scaling [--families=beta_vae,vqvae] [--devices=8,64,256,1024] [--fsdp=1]
      [--processes=1,2,4]

For each config and number of devices a training step is compiled, in the form that it has on an
accelerator, for that many virtual CPU devices with the config's batch on each (weak scaling);
nothing runs. From the compiled program: FLOPs of a device, the collectives and the bytes that a
device sends. From these and the published peaks and bandwidths in `links.py` follows the share of
the time in which a device computes on TPU v5e and H200, if communication starts when the
computation has ended, and if it overlaps perfectly. That share is pessimistic for small models,
since a device never computes at its peak, and optimistic about latencies, which are left out.

Then the first config is trained by several processes on this machine, each with a batch of its own,
joined over the loopback interface; and by as many processes that do not communicate. The difference
in time is the overhead of a step. Processes share cores if there are more of them than cores.

Writes `results/scaling-<device>.json` and a table `.md`, in which configs and numbers of processes
that are left out keep their last measurements.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
from typing import Any

import jax
from absl import app, flags

from .collectives import Collective, bytes_per_device, counts_of
from .configured import FAMILIES
from .links import MACHINES, communication_seconds, efficiency
from .machine import machine
from .paths import result_path
from .records import read_rows, write_record

__all__ = ["main"]

_FAMILIES = flags.DEFINE_list("families", list(FAMILIES), "Config files, FILE or FILE:SETTING.")
_DEVICES = flags.DEFINE_list("devices", ["8", "64", "256", "1024"], "Numbers of devices; or none.")
_FSDP = flags.DEFINE_integer("fsdp", 1, "Devices that parameters are split over.")
_PROCESSES = flags.DEFINE_list("processes", ["1", "2", "4"], "Numbers of processes; or none.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "Runs of each number of processes.")

_WORKER = f"{__package__}.scaling_worker"


def _start(arguments: list[str], devices: int) -> subprocess.Popen[str]:
    """A worker on virtual CPU devices."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    command = [sys.executable, "-m", _WORKER, *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def _result(process: subprocess.Popen[str]) -> Any:
    """What a worker prints in its last line.

    Raises:
      RuntimeError: it failed.
    """
    out, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"a worker ended with exit code {process.returncode}")
    return json.loads(out.splitlines()[-1])


def _compiled(name: str, devices: int, fsdp: int) -> dict[str, Any]:
    """The communication of a config's step on so many devices."""
    found = _result(_start(["compile", name, str(devices), str(fsdp)], devices))
    collectives = [Collective(*values) for values in found.pop("collectives")]
    shares = {}
    for kind, hardware in MACHINES.items():
        seconds = communication_seconds(collectives, hardware, devices)
        alone, overlapped = efficiency(found["flops"], seconds, hardware)
        shares[kind] = {"seconds": seconds, "alone": alone, "overlapped": overlapped}
    row = {"config": name, "devices": devices, "fsdp": fsdp, **found}
    row |= {"counts": counts_of(collectives), "bytes_sent": bytes_per_device(collectives)}
    return {**row, "share_computing": shares, "commit": machine()["commit"]}


def _seconds_per_step(name: str, count: int, joined: bool) -> float:
    """Median of the processes' seconds per step, all at once."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    world = count if joined else 1
    workers = [
        _start(["train", name, str(world), str(i if joined else 0), str(port), str(i)], 1)
        for i in range(count)
    ]
    return statistics.median([_result(worker) for worker in workers])


def _together(name: str, count: int) -> dict[str, Any]:
    """The time of a step in several processes, joined and apart, in alternation."""
    joined, apart = [], []
    for _ in range(_REPEATS.value):
        apart.append(_seconds_per_step(name, count, False))
        joined.append(_seconds_per_step(name, count, True))
    together, alone = statistics.median(joined), statistics.median(apart)
    return {
        "config": name,
        "processes": count,
        "ms_apart": 1e3 * alone,
        "ms_joined": 1e3 * together,
        "ms_overhead": 1e3 * (together - alone),
        "range_ms_joined": [1e3 * min(joined), 1e3 * max(joined)],
        "range_ms_apart": [1e3 * min(apart), 1e3 * max(apart)],
        **machine(),
    }


def _table(results: dict[str, list[dict[str, Any]]]) -> str:
    """Both parts in Markdown."""
    kinds = list(MACHINES)
    head = ["config", "devices", "GFLOP per device", "MB sent per device", "collectives"]
    lines = [head + [f"computing on {kind}, % (with overlap)" for kind in kinds] + ["commit"]]
    for row in results["compiled"]:
        shares = [row["share_computing"][kind] for kind in kinds]
        lines.append([
            row["config"] + (f", fsdp {row['fsdp']}" if row["fsdp"] > 1 else ""),
            f"{row['devices']:,}",
            f"{row['flops'] / 1e9:.3g}",
            f"{row['bytes_sent'] / 1e6:.3g}",
            ", ".join(f"{n} {kind}" for kind, n in row["counts"].items()),
            *[f"{100 * s['alone']:.0f} ({100 * s['overlapped']:.0f})" for s in shares],
            row["commit"],
        ])  # fmt: skip
    head = ["config", "processes", "apart, ms per step", "joined, ms per step", "overhead, ms"]
    other = [[*head, "commit"]]
    for row in results["processes"]:
        low, high = row["range_ms_joined"]
        other.append([
            row["config"],
            str(row["processes"]),
            f"{row['ms_apart']:.2f}",
            f"{row['ms_joined']:.2f} ({low:.2f}–{high:.2f})",
            f"{row['ms_overhead']:.2f}",
            row["commit"],
        ])  # fmt: skip
    texts = []
    for rows in (lines, other):
        rows.insert(1, ["---"] * len(rows[0]))
        texts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    return "\n\n".join(texts) + "\n"


def _merged(
    old: list[dict[str, Any]], new: list[dict[str, Any]], keys: tuple[str, ...]
) -> list[dict[str, Any]]:
    """The rows of both; the new one where both have one."""

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row[k] for k in keys)

    rows = {key(row): row for row in old} | {key(row): row for row in new}
    return [rows[k] for k in sorted(rows)]


def main(argv: list[str]) -> None:
    """Measures, prints and writes."""
    del argv
    jax.config.update("jax_platforms", "cpu")
    path = result_path("scaling-cpu.json")
    results = {group: read_rows(path, group) or [] for group in ("compiled", "processes")}
    for name in _FAMILIES.value:
        for devices in map(int, filter(None, _DEVICES.value)):
            row = _compiled(name, devices, _FSDP.value)
            rows = _merged(results["compiled"], [row], ("config", "fsdp", "devices"))
            results["compiled"] = rows
            write_record(path, results, _table(results))
            print(row, flush=True)
    for count in map(int, filter(None, _PROCESSES.value)):
        row = _together(_FAMILIES.value[0], count)
        results["processes"] = _merged(results["processes"], [row], ("config", "processes"))
        write_record(path, results, _table(results))
        print(row, flush=True)
    print(_table(results))


if __name__ == "__main__":
    app.run(main)
