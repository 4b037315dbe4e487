"""How fast every family trains on this machine, and what share of the machine's speed that is.

  python -m benchmarks.throughput [--families=beta_vae,vqvae] [--devices=1] [--dtype=bfloat16]
      [--batch_size=2048] [--together]

For each family, its config on the data it embeds: compile time, then steps and examples a second
in steady state (median and range of the repeats, a repeat being one dispatch of many steps,
awaited); host time between dispatches; operations of one step as the compiler counts them, merged
and with every round of a loop, and so the rate reached, beside the machine's own, measured in the
same run by a large matrix product and a large copy; the same by the definition of a convolution, of
whose operations Winograd's filters do a part; temporary memory of the program, and the device's
peak where the backend tells it. With `--together` all programs are compiled beforehand, each in a
thread: quicker on many cores, though each then takes longer to compile.

Writes `results/throughput-<device>.json`, a table `.md` and a plot `.png` made from it.
"""

import dataclasses
import json
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks.configured import FAMILIES, Configured, load
from benchmarks.flops import flops
from benchmarks.machine import device_name, machine
from benchmarks.peak import peaks
from vaejax.core.rng import DATA, key_of
from vaejax.core.sharding import make_mesh
from vaejax.data.preprocess import preparation
from vaejax.networks.ops.conv2d import in_form
from vaejax.training import Trainer
from vaejax.training.train_step import make_step

RESULTS = Path(__file__).parent / "results"

_FAMILIES = flags.DEFINE_list("families", list(FAMILIES), "Config files, FILE or FILE:SETTING.")
_DEVICES = flags.DEFINE_integer("devices", 0, "How many; 0 for all.", lower_bound=0)
_REPEATS = flags.DEFINE_integer("repeats", 5, "Timed dispatches of each.")
_SECONDS = flags.DEFINE_float("seconds", 3.0, "Rough length of one dispatch.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 0, "Other than the configs'; 0 for theirs.")
_TOGETHER = flags.DEFINE_bool("together", False, "Compile all beforehand, beside one another.")
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Networks compute in it.")


class Measured:
    """A config's program, compiled, and what is known of it."""

    def __init__(self, configured: Configured) -> None:
        family, source, plan, _, binarize = configured
        if _BATCH_SIZE.value:
            plan = dataclasses.replace(plan, batch_size=_BATCH_SIZE.value)
        self.plan, n = plan, plan.steps_per_dispatch
        mesh = make_mesh(_DEVICES.value or -1)
        trainer = Trainer(family, source, plan, binarize=binarize, mesh=mesh)

        begun = time.perf_counter()
        state = jax.block_until_ready(trainer.init())
        init_seconds = time.perf_counter() - begun
        self._chunks = trainer.feed.chunks([(i * n, (i + 1) * n) for i in range(20_000)])
        self._trainer = trainer

        begun = time.perf_counter()
        self.state = jax.block_until_ready(self._dispatch(state))
        compile_seconds = time.perf_counter() - begun

        prepare, rows = preparation(source, binarize), source.take(np.arange(plan.batch_size))
        batch = jax.eval_shape(prepare, rows, key_of(0, DATA))
        step = make_step(family, ema_decay=plan.ema_decay)
        with in_form("native"):
            whole = flops(make_step(family, ema_decay=plan.ema_decay), self.state, batch, 0)
        memory = trainer.run.lower(
            self.state, trainer.feed.data, next(self._chunks)[1], np.int32(n)
        ).compile()  # found again, not compiled
        analysis = memory.memory_analysis()
        self.known = {
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(self.state.params)),
            "batch_size": plan.batch_size,
            "init_seconds": init_seconds,
            "compile_seconds": compile_seconds,
            "steps_per_dispatch": n,
            "flops_per_step": flops(step, self.state, batch, 0),
            "flops_by_definition": whole,
            "temporary_mib": analysis.temp_size_in_bytes / 2**20 if analysis else None,
        }

    def _dispatch(self, state: Any) -> Any:
        span, chunk = next(self._chunks)
        return self._trainer.dispatch(state, span, chunk)[0]

    def times(self) -> dict[str, Any]:
        """All figures; rates in steps, examples and FLOPs a second."""
        state, once, n = self.state, float("inf"), self.plan.steps_per_dispatch
        for _ in range(2):  # the first of them may still load something
            begun = time.perf_counter()
            state = jax.block_until_ready(self._dispatch(state))
            once = min(once, time.perf_counter() - begun)
        count = max(1, round(_SECONDS.value / once))
        rates, host = [], []
        for _ in range(_REPEATS.value):
            begun, busy = time.perf_counter(), 0.0
            for _ in range(count):
                sent = time.perf_counter()
                state = self._dispatch(state)
                busy += time.perf_counter() - sent
                if jax.default_backend() == "cpu":  # whose dispatches would pile up in memory
                    jax.block_until_ready(state)
            jax.block_until_ready(state)
            rates.append(count * n / (time.perf_counter() - begun))
            host.append(1e3 * busy / count)
        self.state, rate = state, statistics.median(rates)
        return {
            **self.known,
            "compile_seconds": self.known["compile_seconds"] - once,
            "steps_per_second": rate,
            "steps_per_second_range": [min(rates), max(rates)],
            "examples_per_second": rate * self.plan.batch_size,
            "host_ms_per_dispatch": statistics.median(host),
            "flops_per_second": self.known["flops_per_step"] * rate,
            "peak_bytes": (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use"),
        }


def prepared(name: str, dtype: str) -> Measured | None:
    """A config's program, compiled; None if its networks cannot compute in `dtype`."""
    configured = load(name, dtype)
    return None if configured is None else Measured(configured)


def rows(names: list[str], dtype: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each config's figures; its name is printed before, and after the first of them are known."""
    with ThreadPoolExecutor(len(names) if _TOGETHER.value else 1) as pool:
        if _TOGETHER.value:
            ready = dict(zip(names, pool.map(prepared, names, [dtype] * len(names)), strict=True))
        for number, name in enumerate(names, start=1):
            print(f"[{number}/{len(names)}] {name} ...", flush=True)
            program = ready.pop(name) if _TOGETHER.value else prepared(name, dtype)
            if program is None:
                yield name, {"left_out": f"its networks have no setting of dtype for {dtype}"}
                continue
            yield name, program.times()


def _digits(x: float) -> str:
    """Three of them at least."""
    return f"{x:.3g}" if x < 100 else f"{x:,.0f}"


def as_table(record: dict[str, Any]) -> str:
    """The record in Markdown."""
    peak = record["peak"]
    lines = [
        f"{record['devices']} × {record['device']}, {record['processor']}, {record['cores']} cores"
        f"; {record['dtype']}; jax {record['jax']}; commit {record['commit']}. A large matrix "
        f"product reaches {peak['flops'] / 1e9:,.0f} GFLOP/s, a large copy "
        f"{peak['bytes'] / 1e9:,.1f} GB/s."
        + (" All were compiled beside one another." if record.get("together") else ""),
        "",
        "| config | batch | steps/s | examples/s | range | compile, s | GFLOP/s | share of peak | "
        "by definition | memory, MiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in record["families"].items():
        if "left_out" in row:
            lines.append(f"| {name} | {row['left_out']} |" + " |" * 8)
            continue
        low, high = row["steps_per_second_range"]
        whole = row.get("flops_by_definition", row["flops_per_step"]) * row["steps_per_second"]
        by_definition = f"{100 * whole / peak['flops']:.2g}%"
        lines.append(
            f"| {name} | {row['batch_size']:,} | {_digits(row['steps_per_second'])} | "
            f"{row['examples_per_second']:,.0f} | {_digits(low)}–{_digits(high)} | "
            f"{row['compile_seconds']:.1f} | {_digits(row['flops_per_second'] / 1e9)} | "
            f"{100 * row['flops_per_second'] / peak['flops']:.2g}% | {by_definition} | "
            f"{row['temporary_mib']:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def plot(path: Path, record: dict[str, Any]) -> None:
    """Bars of the share of the machine's peak that each config reaches."""
    from vaejax.visualization.plots.grids_and_curves import INK, LINES, load_pyplot

    rows = {k: v for k, v in record["families"].items() if "left_out" not in v}
    pyplot = load_pyplot()
    figure, axes = pyplot.subplots(figsize=(6, 0.35 * len(rows) + 1), layout="constrained")
    share = [100 * row["flops_per_second"] / record["peak"]["flops"] for row in rows.values()]
    axes.barh(range(len(rows)), share, color=LINES["train"])
    axes.set_yticks(range(len(rows)), list(rows), fontsize=8, color=INK)
    for i, row in enumerate(rows.values()):
        text = f" {row['examples_per_second']:,.0f} examples/s"
        axes.text(share[i], i, text, va="center", fontsize=7, color=INK)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.4 * max(share))
    axes.set_xlabel(f"% of this machine's matrix product, {record['dtype']}", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def main(argv: list[str]) -> None:
    """Measures, prints and writes."""
    del argv
    dtype = _DTYPE.value
    record: dict[str, Any] = {**machine(), "dtype": dtype, "together": _TOGETHER.value}
    record |= {"devices": _DEVICES.value or jax.device_count(), "families": {}}
    for name, row in rows(_FAMILIES.value, dtype):
        record["families"][name] = row
        if "left_out" not in row:
            print(
                f"    {row['steps_per_second']:.3g} steps/s, {row['examples_per_second']:,.0f} "
                f"examples/s, compiled in {row['compile_seconds']:.1f} s",
                flush=True,
            )
    record["peak"] = peaks(jnp.dtype(dtype))
    if jax.default_backend() != "cpu":  # whose virtual devices share the cores the product had
        record["peak"]["flops"] *= record["devices"]
    stem = f"throughput-{device_name()}" + ("" if dtype == "float32" else f"-{dtype}")
    stem += f"-{_DEVICES.value}" if _DEVICES.value else ""
    stem += f"-batch-{_BATCH_SIZE.value}" if _BATCH_SIZE.value else ""
    (RESULTS / f"{stem}.json").write_text(json.dumps(record, indent=2) + "\n")
    (RESULTS / f"{stem}.md").write_text(as_table(record))
    plot(RESULTS / f"{stem}.png", record)
    print("\n" + as_table(record) + f"\nWrote {RESULTS / stem}.json, .md and .png.")


if __name__ == "__main__":
    app.run(main)
