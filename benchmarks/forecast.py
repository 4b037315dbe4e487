"""A forecast for an accelerator that is not at hand: the roofline of a training step.

  python -m benchmarks.forecast [--configs=beta_vae,vqvae] [--forecast_batch_size=2048]

Nothing is run. A step of every config is compiled on the CPU, in the form that it has on an
accelerator, and the compiler's counts of operations and of bytes are divided by the published peak
and memory bandwidth of an H200 (NVIDIA's data sheet: 494 TFLOP/s in TF32 and 989 in bfloat16,
without sparsity; 4.8 TB/s). The larger of the two times is a lower bound of the time of a step
whose arrays all pass through memory: it leaves out launches of kernels, which dominate with small
batches, and counts the fusions of the CPU's compiler, which an accelerator's may surpass. Where a
measurement is recorded, it stands beside the forecast.

Writes `results/forecast-h200.json` and a table `.md`, in which configs that are left out keep their
last forecast.
"""

from typing import Any

import jax
import numpy as np
from absl import app, flags

from vaejax.core.rng import Stream, key_of
from vaejax.data.preprocess import preparation
from vaejax.networks.ops.conv2d import using_implementation
from vaejax.training.train_step import init_state, make_step

from .configured import FAMILIES, load
from .flops import products
from .paths import result_path
from .records import measure_rows, read_rows

__all__ = ["as_table", "cost_of_step", "main", "roofline"]

_FAMILIES = flags.DEFINE_list("configs", list(FAMILIES), "Config files, FILE or FILE:SETTING.")
_BATCH_SIZE = flags.DEFINE_integer(
    "forecast_batch_size", 0, "Batch size; 0 for those of the configs."
)
_PEAKS = {"TF32": 494e12, "bfloat16": 989e12}  # FLOP/s
_BANDWIDTH = 4.8e12  # bytes/s
_MEASURED = "throughput-nvidia-h200.json"


def cost_of_step(name: str, batch_size: int = 0) -> dict[str, float]:
    """FLOPs and bytes of a step of a config, as counted by the compiler.

    The compiler counts the body of a loop once: the products of further iterations are added to the
    FLOPs, and the bytes grow in the same proportion.

    Args:
      name: FILE or FILE:SETTING.
      batch_size: 0 for the config's.
    """
    configured = load(name)
    assert configured is not None  # all networks compute in float32
    family, source, settings, binarize = configured
    size, prepare = batch_size or settings.batch_size, preparation(source, binarize)
    rows = source.take(np.zeros(1, np.int32))
    shapes = {k: jax.ShapeDtypeStruct((size, *a.shape[1:]), a.dtype) for k, a in rows.items()}
    with using_implementation("blocks"):
        step = make_step(family, ema_decay=settings.ema_decay)

        def train(state: Any, rows: Any) -> Any:
            return step(state, prepare(rows, key_of(0, Stream.DATA, state.step)), 0)

        state = jax.eval_shape(
            lambda r: init_state(family, 0, prepare(r, key_of(0, Stream.DATA)), settings.ema_decay),
            shapes,
        )
        traced = jax.jit(train, donate_argnums=0).trace(state, shapes)
    # Fusions are decided before machine code is generated, which needs no optimisation here.
    options: dict[str, Any] = {"xla_backend_optimization_level": 0}
    counted = traced.lower().compile(compiler_options=options).cost_analysis() or {}
    jaxpr, flops = traced.jaxpr.jaxpr, counted["flops"]
    repeated = products(jaxpr) - products(jaxpr, loops_once=True)
    return {
        "batch_size": size,
        "flops": flops + repeated,
        "bytes": counted["bytes accessed"] * (flops + repeated) / flops,
    }


def roofline(flops: float, moved: float, peak: float) -> tuple[float, str]:
    """Seconds of a step, and by what they are bound.

    Args:
      flops: of the step.
      moved: bytes to and from memory.
      peak: FLOP/s.
    """
    products, memory = flops / peak, moved / _BANDWIDTH
    return (products, "products") if products > memory else (memory, "memory")


def as_table(record: dict[str, Any], measured: dict[str, Any]) -> str:
    """The record as a Markdown table.

    Args:
      record: of `main`.
      measured: config -> row of the recorded throughput on this accelerator.
    """
    lines = [
        "Forecast for one H200 at its published peaks, not a measurement.",
        "",
        "| config | batch | GFLOP per step | MB per step | forecast, ms in TF32 (bound by) | "
        "in bfloat16 | examples/s at that in TF32 | measured in float32, ms | commit |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for key, row in record["configs"].items():
        size, moved = row["batch_size"], row["bytes"]
        tf32, by = roofline(row["flops"], moved, _PEAKS["TF32"])
        # Parameters and statistics stay in float32: half of the bytes is a lower bound.
        low, by_low = roofline(row["flops"], moved / 2, _PEAKS["bfloat16"])
        run = measured.get(key.rpartition("@")[0] if "@" in key else key)
        found = f"{1e3 / run['steps_per_second']:.3g}" if run and run["batch_size"] == size else ""
        lines.append(
            f"| {key.partition('@')[0]} | {size:,} | {row['flops'] / 1e9:.3g} | {moved / 1e6:.3g} "
            f"| {1e3 * tf32:.3g} ({by}) | {1e3 * low:.3g} ({by_low}) | {size / tf32:,.0f} | "
            f"{found} | {row['commit']} |"
        )
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Compiles, prints and writes."""
    del argv
    measured = read_rows(result_path(_MEASURED), "families")
    batch_size = _BATCH_SIZE.value
    rows = {f"{name}@{batch_size}" if batch_size else name: name for name in _FAMILIES.value}
    measure_rows(
        result_path("forecast-h200.json"),
        "configs",
        list(rows),
        lambda row: cost_of_step(rows[row], batch_size),
        lambda record: as_table(record, measured),
    )


if __name__ == "__main__":
    app.run(main)
