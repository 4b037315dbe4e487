"""Time of the operations in a compiled training step.

  python -m benchmarks.operations [--families=beta_vae,vqvae] [--steps=20] [--top=8]

Traces some steps of each family's config in steady state, and sums the time over the device's
threads. For matrix products and convolutions it also reports the rate, together with the rate of a
large product in the same run, which bounds what optimising other operations could gain.

Writes `results/operations-<device>.json` and a table `.md`, in which families that are left out
keep their last measurements.
"""

import collections
import gzip
import json
import math
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from vaejax.training import Trainer

from .configured import FAMILIES, load
from .machine import device_name
from .paths import result_path
from .peak import peaks
from .records import measure_rows

__all__ = ["Operation", "main", "operations", "seconds_by_operation"]

_NAMES = flags.DEFINE_list("families", list(FAMILIES), "Config files, FILE or FILE:SETTING.")
_STEPS = flags.DEFINE_integer("steps", 40, "Steps in the trace, rounded up to dispatches.")
_TOP = flags.DEFINE_integer("top", 8, "Operations listed for each config.")

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_SHAPE = re.compile(r"\w+\[[\d,]*\]")
# Operations whose time is that of the operations inside them.
_OUTER = re.compile(r" (while|conditional|call|tuple|get-tuple-element|parameter)\(")


class Operation(NamedTuple):
    """An operation of a compiled program.

    Attributes:
      kind: "products", "convolutions" or "other".
      flops: of its products and convolutions.
      shape: of its result, or of the product inside it.
      source: JAX's name of its origin in the model.
    """

    kind: str
    flops: float
    shape: str
    source: str


def _dims(shape: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", shape[shape.index("[") :])]


def _name(line: str) -> str:
    return line.split(" = ")[0].replace("ROOT", "").strip().lstrip("%")


def _shapes(lines: Iterable[str]) -> dict[str, str]:
    return {_name(line): m.group(0) for line in lines if (m := _SHAPE.search(line))}


def _flops(line: str, opcode: str, shapes: dict[str, str]) -> float:
    """FLOPs of a `dot` or a `convolution`, 2 per multiplication and addition."""
    result = math.prod(_dims(shapes[_name(line)]))
    operands = re.findall(r"%([\w.\-]+)", line[line.index(opcode + "(") :])
    if opcode == "dot":
        contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", line)
        axes = [int(n) for n in contracted.group(1).split(",") if n] if contracted else []
        left = _dims(shapes[operands[0]])
        return 2.0 * result * math.prod(left[i] for i in axes)
    kernel, labels = _dims(shapes[operands[1]]), re.search(r"dim_labels=\w+_(\w+)->", line)
    assert labels is not None
    return 2.0 * result * math.prod(kernel) / kernel[labels.group(1).index("o")]


def _products(lines: list[str]) -> tuple[str, float, str]:
    """Kind, FLOPs and shape of the products and convolutions in some lines."""
    kind, flops, shape, shapes = "other", 0.0, "", _shapes(lines)
    for line in lines:
        if opcode := re.search(r" (dot|convolution)\(", line):
            kind = "products" if opcode.group(1) == "dot" else "convolutions"
            flops, shape = flops + _flops(line, opcode.group(1), shapes), shapes[_name(line)]
    return kind, flops, shape


def operations(text: str) -> dict[str, Operation]:
    """The operations of a compiled program by name, from its text (`compiled.as_text()`)."""
    computations: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if head := _COMPUTATION.match(line):
            lines = computations.setdefault(head.group(1), [])
        elif " = " in line:
            lines.append(line)
    fused = set(re.findall(r" fusion\(.*calls=%?([\w.\-]+)", text))
    result = {}
    for computation, lines in computations.items():
        shapes = _shapes(lines)
        for line in () if computation in fused else lines:
            called = re.search(r" fusion\(.*calls=%?([\w.\-]+)", line)
            if _OUTER.search(line) and not called:
                continue
            if called:
                kind, flops, shape = _products(computations[called.group(1)])
            elif opcode := re.search(r" (dot|convolution)\(", line):
                kind = "products" if opcode.group(1) == "dot" else "convolutions"
                flops, shape = _flops(line, opcode.group(1), shapes), ""
            else:
                kind, flops, shape = "other", 0.0, ""
            source = re.search(r'op_name="([^"]*)"', line)
            shape = shape or shapes.get(_name(line), "")
            result[_name(line)] = Operation(kind, flops, shape, source.group(1) if source else "")
    return result


def seconds_by_operation(folder: Path, operations: Iterable[str]) -> collections.Counter[str]:
    """Total time of each of the named operations in a trace written by `jax.profiler`."""
    (path,) = folder.glob("**/*.trace.json.gz")
    with gzip.open(path) as file:
        events = json.load(file)["traceEvents"]
    names, total = set(operations), collections.Counter[str]()
    for event in events:
        name = event.get("args", {}).get("hlo_op", event.get("name"))
        if event.get("ph") == "X" and name in names:
            total[name] += event["dur"] * 1e-6
    return total


def _trace(name: str) -> tuple[dict[str, Operation], collections.Counter[str], int]:
    """The operations of a config's training program, their time, and the number of steps."""
    configured = load(name)
    assert configured is not None  # all networks compute in float32
    settings, n = configured.settings, configured.settings.steps_per_dispatch
    trainer = Trainer(configured.family, configured.source, settings, binarize=configured.binarize)
    dispatches = -(-_STEPS.value // n)
    spans = [(i * n, (i + 1) * n) for i in range(dispatches + 2)]
    batches, state = trainer.loader.batches(spans), trainer.init()
    span, stacked = next(batches)
    lowered = trainer.run.lower(state, trainer.loader.data, stacked, np.int32(n))
    program = operations(lowered.compile().as_text())
    for _ in range(2):
        state, _ = trainer.dispatch(state, span, stacked)
        span, stacked = next(batches)
    jax.block_until_ready(state)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(dispatches):
                state, _ = trainer.dispatch(state, span, stacked)
            jax.block_until_ready(state)
        batches.close()
        return program, seconds_by_operation(Path(folder), program), dispatches * n


def _measure(name: str) -> dict[str, Any]:
    """Milliseconds per step by kind, FLOP/s of products, and the most expensive operations."""
    program, seconds, steps = _trace(name)
    kinds: collections.Counter[str] = collections.Counter()
    for operation, time in seconds.items():
        kinds[program[operation].kind] += 1e3 * time / steps
    products = [o for o in seconds if program[o].flops]
    product_seconds = max(sum(seconds[o] for o in products), 1e-9)
    total = sum(seconds.values())
    return {
        "ms_per_step": kinds,
        "flops_per_second": sum(program[o].flops for o in products) * steps / product_seconds,
        "dearest": [
            {
                "ms": 1e3 * time / steps,
                "share": time / total,
                "flops_per_second": program[o].flops * steps / time,
                **program[o]._asdict(),
            }
            for o, time in seconds.most_common(_TOP.value)
        ],
    }


def _as_table(record: dict[str, Any]) -> str:
    """The record as a Markdown table."""
    lines = [
        f"{record['device']}, {record['processor']}, {record['cores']} cores; jax {record['jax']}. "
        f"A large matrix product reaches {record['peak']['flops'] / 1e9:,.0f} GFLOP/s.",
        "",
        "| config | ms per step in operations | products | convolutions | other | GFLOP/s of "
        "products and convolutions | commit |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in record["families"].items():
        kinds = row["ms_per_step"]
        total = sum(kinds.values())
        shares = " | ".join(
            f"{kinds.get(kind, 0.0) / total:.0%}" for kind in ("products", "convolutions", "other")
        )
        rate = row["flops_per_second"] / 1e9
        lines.append(f"| {name} | {total:.3g} | {shares} | {rate:,.0f} | {row['commit']} |")
    for name, row in record["families"].items():
        lines += ["", f"{name}:", "", "| ms | GFLOP/s | result | source |", "|---|---|---|---|"]
        for o in row["dearest"]:
            rate = f"{o['flops_per_second'] / 1e9:,.0f}" if o["flops"] else ""
            source = "/".join(o["source"].split("/")[-3:])
            lines.append(f"| {o['ms']:.3g} | {rate} | {o['shape']} | {source} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Measures, prints and writes."""
    del argv
    path = result_path(f"operations-{device_name()}.json")
    peak = peaks(jnp.float32)
    measure_rows(path, "families", _NAMES.value, _measure, _as_table, peak=peak)


if __name__ == "__main__":
    app.run(main)
