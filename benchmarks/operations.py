"""What a training step spends its time on, operation by operation, as the compiler made them.

  python -m benchmarks.operations [--families=beta_vae,vqvae] [--steps=20] [--top=8]

For each family, its config: a trace of some steps in steady state, added up over the device's
threads. Matrix products and convolutions come with the rate that they reach, beside that of a large
product in the same run: what they take at that rate no rewriting of the rest will save.

Writes `results/operations-<device>.json` and a table `.md`; families that are left out stay as they
were last measured.
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

from benchmarks.configured import FAMILIES, load
from benchmarks.machine import machine
from benchmarks.peak import peaks
from vaejax.training import Trainer

RESULTS = Path(__file__).parent / "results"
_NAMES = flags.DEFINE_list("families", list(FAMILIES), "Config files, FILE or FILE:SETTING.")
_STEPS = flags.DEFINE_integer("steps", 40, "Steps in the trace, rounded up to dispatches.")
_TOP = flags.DEFINE_integer("top", 8, "Operations listed for each.")

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_SHAPE = re.compile(r"\w+\[[\d,]*\]")
# Their time is that of the operations in them.
_OUTER = re.compile(r" (while|conditional|call|tuple|get-tuple-element|parameter)\(")


class Operation(NamedTuple):
    """An operation of the compiled program.

    Attributes:
      kind: "products", "convolutions" or "other".
      flops: of its products and convolutions.
      shape: of its result, or of the product in it.
      source: where in the model it comes from, as JAX names it.
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
    """Of a `dot` or a `convolution`: 2 for each product and its sum."""
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
    """Kind, FLOPs and shape of what is multiplied in some lines."""
    kind, flops, shape, shapes = "other", 0.0, "", _shapes(lines)
    for line in lines:
        if found := re.search(r" (dot|convolution)\(", line):
            kind = "products" if found.group(1) == "dot" else "convolutions"
            flops, shape = flops + _flops(line, found.group(1), shapes), shapes[_name(line)]
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
    found = {}
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
            found[_name(line)] = Operation(kind, flops, shape, source.group(1) if source else "")
    return found


def seconds(folder: Path, known: Iterable[str]) -> collections.Counter[str]:
    """What each known operation took in all, of a trace that `jax.profiler` wrote."""
    (path,) = folder.glob("**/*.trace.json.gz")
    with gzip.open(path) as file:
        events = json.load(file)["traceEvents"]
    names, total = set(known), collections.Counter[str]()
    for event in events:
        name = event.get("args", {}).get("hlo_op", event.get("name"))
        if event.get("ph") == "X" and name in names:
            total[name] += event["dur"] * 1e-6
    return total


def measure(name: str) -> dict[str, Any]:
    """Milliseconds a step by kind, the rate of what is multiplied, the dearest operations."""
    configured = load(name)
    assert configured is not None  # everyone computes in float32
    plan, n = configured.settings, configured.settings.steps_per_dispatch
    trainer = Trainer(configured.family, configured.source, plan, binarize=configured.binarize)
    dispatches = -(-_STEPS.value // n)
    spans = [(i * n, (i + 1) * n) for i in range(dispatches + 2)]
    chunks, state = trainer.feed.chunks(spans), trainer.init()
    span, chunk = next(chunks)
    lowered = trainer.run.lower(state, trainer.feed.data, chunk, np.int32(n))
    known = operations(lowered.compile().as_text())
    for _ in range(2):
        state, _ = trainer.dispatch(state, span, chunk)
        span, chunk = next(chunks)
    jax.block_until_ready(state)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(dispatches):
                state, _ = trainer.dispatch(state, span, chunk)
            jax.block_until_ready(state)
        chunks.close()
        took = seconds(Path(folder), known)
    steps, total = dispatches * n, sum(took.values())
    kinds: collections.Counter[str] = collections.Counter()
    for operation, time in took.items():
        kinds[known[operation].kind] += 1e3 * time / steps
    multiplied = [o for o in took if known[o].flops]
    return {
        "ms_per_step": kinds,
        "flops_per_second": sum(known[o].flops for o in multiplied) * steps
        / max(sum(took[o] for o in multiplied), 1e-9),
        "dearest": [
            {
                "ms": 1e3 * time / steps,
                "share": time / total,
                "flops_per_second": known[o].flops * steps / time,
                **known[o]._asdict(),
            }
            for o, time in took.most_common(_TOP.value)
        ],
    }  # fmt: skip


def as_table(record: dict[str, Any]) -> str:
    """The record in Markdown."""
    lines = [
        f"{record['device']}, {record['processor']}, {record['cores']} cores; jax {record['jax']}. "
        f"A large matrix product reaches {record['peak']['flops'] / 1e9:,.0f} GFLOP/s.",
        "",
        "| config | ms a step in operations | products | convolutions | other | GFLOP/s of the "
        "first two | commit |",
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
        lines += ["", f"{name}:", "", "| ms | GFLOP/s | result | where |", "|---|---|---|---|"]
        for o in row["dearest"]:
            rate = f"{o['flops_per_second'] / 1e9:,.0f}" if o["flops"] else ""
            where = "/".join(o["source"].split("/")[-3:])
            lines.append(f"| {o['ms']:.3g} | {rate} | {o['shape']} | {where} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Measures, prints and writes."""
    del argv
    record: dict[str, Any] = {**machine(), "peak": peaks(jnp.float32)}
    device = re.sub(r"[^a-z0-9]+", "-", str(record["device"]).lower()).strip("-")
    path = RESULTS / f"operations-{device}.json"
    record["families"] = json.loads(path.read_text())["families"] if path.exists() else {}
    for number, name in enumerate(_NAMES.value, start=1):
        print(f"[{number}/{len(_NAMES.value)}] {name} ...", flush=True)
        record["families"][name] = {**measure(name), "commit": record["commit"]}
        path.write_text(json.dumps(record, indent=2) + "\n")
        path.with_suffix(".md").write_text(as_table(record))
    print("\n" + as_table(record))


if __name__ == "__main__":
    app.run(main)
