"""Training throughput of every family, and the utilisation of the machine.

  python -m benchmarks.throughput [--families=beta_vae,vqvae] [--devices=1] [--dtype=bfloat16]
      [--batch_size=2048] [--together]

Measures for each family's config on its embedded data:

- compile time, and steps and examples per second in steady state (median and range of repeats of
  one or more dispatches);
- host time per dispatch;
- FLOPs of one step as counted by the compiler, with all iterations of loops, and FLOP/s relative to
  the machine's own rate, measured in the same run by a large matrix product and a large copy;
- the same with the FLOPs of direct convolutions, which Winograd filtering reduces;
- temporary memory of the program, and the device's peak if the backend reports it.

With `--together` all programs are compiled first, each in a thread: faster on many cores, although
each then takes longer to compile. Writes `results/throughput-<device>.json`, a table `.md` and a
plot `.png`.
"""

import dataclasses
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

from vaejax.core.rng import Stream, key_of
from vaejax.core.sharding import make_mesh
from vaejax.data.preprocess import preparation
from vaejax.networks.ops.conv2d import using_implementation
from vaejax.training import Trainer
from vaejax.training.train_step import make_step

from .configured import FAMILIES, Configured, load
from .flops import flops
from .machine import device_name, machine
from .paths import result_path
from .peak import peaks
from .records import write_record

__all__ = ["main"]

_FAMILIES = flags.DEFINE_list("families", list(FAMILIES), "Config files, FILE or FILE:SETTING.")
_DEVICES = flags.DEFINE_integer("devices", 0, "Number of devices; 0 for all.", lower_bound=0)
_REPEATS = flags.DEFINE_integer("repeats", 5, "Repeats for each config.")
_SECONDS = flags.DEFINE_float("seconds", 3.0, "Approximate length of one repeat.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 0, "Batch size; 0 for those of the configs.")
_TOGETHER = flags.DEFINE_bool("together", False, "Compile all programs first, in parallel.")
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of the networks.")


class _Program:
    """A config's training program, compiled."""

    def __init__(self, configured: Configured) -> None:
        family, source, settings, binarize = configured
        if _BATCH_SIZE.value:
            settings = dataclasses.replace(settings, batch_size=_BATCH_SIZE.value)
        self.settings, n = settings, settings.steps_per_dispatch
        mesh = make_mesh(_DEVICES.value or -1)
        trainer = Trainer(family, source, settings, binarize=binarize, mesh=mesh)

        start = time.perf_counter()
        state = jax.block_until_ready(trainer.init())
        init_seconds = time.perf_counter() - start
        self._batches = trainer.loader.batches([(i * n, (i + 1) * n) for i in range(20_000)])
        self._trainer = trainer

        start = time.perf_counter()
        self.state = jax.block_until_ready(self._dispatch(state))
        compile_seconds = time.perf_counter() - start

        prepare, rows = preparation(source, binarize), source.take(np.arange(settings.batch_size))
        batch = jax.eval_shape(prepare, rows, key_of(0, Stream.DATA))
        step = make_step(family, ema_decay=settings.ema_decay)
        with using_implementation("native"):
            direct_step = make_step(family, ema_decay=settings.ema_decay)
            direct_flops = flops(direct_step, self.state, batch, 0)
        compiled = trainer.run.lower(
            self.state, trainer.loader.data, next(self._batches)[1], np.int32(n)
        ).compile()  # from the cache
        analysis = compiled.memory_analysis()
        self.properties = {
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(self.state.params)),
            "batch_size": settings.batch_size,
            "init_seconds": init_seconds,
            "compile_seconds": compile_seconds,
            "steps_per_dispatch": n,
            "flops_per_step": flops(step, self.state, batch, 0),
            "flops_by_definition": direct_flops,
            "temporary_mib": analysis.temp_size_in_bytes / 2**20 if analysis else None,
        }

    def _dispatch(self, state: Any) -> Any:
        span, batches = next(self._batches)
        return self._trainer.dispatch(state, span, batches)[0]

    def measure(self) -> dict[str, Any]:
        """All measurements; rates are per second."""
        state, dispatch_seconds = self.state, float("inf")
        for _ in range(2):  # the first one may include further initialisation
            start = time.perf_counter()
            state = jax.block_until_ready(self._dispatch(state))
            dispatch_seconds = min(dispatch_seconds, time.perf_counter() - start)
        count = max(1, round(_SECONDS.value / dispatch_seconds))
        rates, host = [], []
        for _ in range(_REPEATS.value):
            start, host_seconds = time.perf_counter(), 0.0
            for _ in range(count):
                dispatch_start = time.perf_counter()
                state = self._dispatch(state)
                host_seconds += time.perf_counter() - dispatch_start
                if jax.default_backend() == "cpu":  # queued dispatches would fill the memory
                    jax.block_until_ready(state)
            jax.block_until_ready(state)
            steps = count * self.settings.steps_per_dispatch
            rates.append(steps / (time.perf_counter() - start))
            host.append(1e3 * host_seconds / count)
        self.state, rate = state, statistics.median(rates)
        return {
            **self.properties,
            "compile_seconds": self.properties["compile_seconds"] - dispatch_seconds,
            "steps_per_second": rate,
            "steps_per_second_range": [min(rates), max(rates)],
            "examples_per_second": rate * self.settings.batch_size,
            "host_ms_per_dispatch": statistics.median(host),
            "flops_per_second": self.properties["flops_per_step"] * rate,
            "peak_bytes": (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use"),
        }


def _compile(name: str, dtype: str) -> _Program | None:
    """A config's program; None if its networks have no setting for `dtype`."""
    configured = load(name, dtype)
    return None if configured is None else _Program(configured)


def _rows(names: list[str], dtype: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each config's name and measurements; prints the name before it is measured."""
    with ThreadPoolExecutor(len(names) if _TOGETHER.value else 1) as pool:
        if _TOGETHER.value:
            compiled = dict(
                zip(names, pool.map(_compile, names, [dtype] * len(names)), strict=True)
            )
        for number, name in enumerate(names, start=1):
            print(f"[{number}/{len(names)}] {name} ...", flush=True)
            program = compiled.pop(name) if _TOGETHER.value else _compile(name, dtype)
            if program is None:
                yield name, {"left_out": f"its networks have no setting of dtype for {dtype}"}
                continue
            yield name, program.measure()


def _digits(x: float) -> str:
    """The number with at least three significant digits."""
    return f"{x:.3g}" if x < 100 else f"{x:,.0f}"


def _as_table(record: dict[str, Any]) -> str:
    """The record as a Markdown table."""
    peak = record["peak"]
    lines = [
        f"{record['devices']} × {record['device']}, {record['processor']}, {record['cores']} cores"
        f"; {record['dtype']}; jax {record['jax']}; commit {record['commit']}. A large matrix "
        f"product reaches {peak['flops'] / 1e9:,.0f} GFLOP/s, a large copy "
        f"{peak['bytes'] / 1e9:,.1f} GB/s."
        + (" All were compiled in parallel." if record.get("together") else ""),
        "",
        "| config | batch | steps/s | examples/s | range | compile, s | GFLOP/s | share of peak | "
        "direct convolutions | memory, MiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in record["families"].items():
        if "left_out" in row:
            lines.append(f"| {name} | {row['left_out']} |" + " |" * 8)
            continue
        low, high = row["steps_per_second_range"]
        direct = row.get("flops_by_definition", row["flops_per_step"]) * row["steps_per_second"]
        direct_share = f"{100 * direct / peak['flops']:.2g}%"
        lines.append(
            f"| {name} | {row['batch_size']:,} | {_digits(row['steps_per_second'])} | "
            f"{row['examples_per_second']:,.0f} | {_digits(low)}–{_digits(high)} | "
            f"{row['compile_seconds']:.1f} | {_digits(row['flops_per_second'] / 1e9)} | "
            f"{100 * row['flops_per_second'] / peak['flops']:.2g}% | {direct_share} | "
            f"{row['temporary_mib']:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def _plot(path: Path, record: dict[str, Any]) -> None:
    """Bars of each config's FLOP/s relative to the machine's peak."""
    from vaejax.visualization.plots import INK, LINES, load_pyplot

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
    for name, row in _rows(_FAMILIES.value, dtype):
        record["families"][name] = row
        if "left_out" not in row:
            print(
                f"    {row['steps_per_second']:.3g} steps/s, {row['examples_per_second']:,.0f} "
                f"examples/s, compiled in {row['compile_seconds']:.1f} s",
                flush=True,
            )
    record["peak"] = peaks(jnp.dtype(dtype))
    if jax.default_backend() != "cpu":  # virtual CPU devices share the cores of the product
        record["peak"]["flops"] *= record["devices"]
    stem = f"throughput-{device_name()}" + ("" if dtype == "float32" else f"-{dtype}")
    stem += f"-{_DEVICES.value}" if _DEVICES.value else ""
    stem += f"-batch-{_BATCH_SIZE.value}" if _BATCH_SIZE.value else ""
    path = result_path(f"{stem}.json")
    write_record(path, record, _as_table(record))
    _plot(path.with_suffix(".png"), record)
    print("\n" + _as_table(record) + f"\nWrote {path}, .md and .png.")


if __name__ == "__main__":
    app.run(main)
