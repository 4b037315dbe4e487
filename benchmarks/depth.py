"""Compile time, step time and memory of a very deep ladder VAE.

  python -m benchmarks.depth [--blocks=10,40] [--width=128] [--batch=8] [--repeats=5] [--kernels]

Trains ladders like VDVAE (2011.10650) on 32×32×3 noise: 10 and 40 blocks over the five resolutions
from 1×1 to 32×32, each with and without recomputation in the backward pass. Memory is what the
compiler reports for the step beyond its inputs, and the device's peak if the backend reports it.
The runs of one depth are interleaved. The utilisation is relative to a large matrix product in the
same dtype, and counts the FLOPs of a step without recomputation in both cases. `--kernels` adds the
ten kernels that take most of a step. Writes `results/depth-<device>.json`.
"""

import json
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

from vaejax import families
from vaejax.core.game import Family
from vaejax.training.train_step import init_state, make_step

from .flops import products
from .kernels import largest_kernels
from .machine import machine
from .paths import result_path, write_json
from .peak import peaks

__all__ = ["main"]

_WIDTH = flags.DEFINE_integer("width", 128, "Channels of h; a quarter of it inside the blocks.")
_BATCH = flags.DEFINE_integer("batch", 8, "Images per step.")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Interleaved repeats of one step.")
_DTYPE = flags.DEFINE_string("dtype", "float32", "Data type of the networks.")
_DEPTHS = flags.DEFINE_list("blocks", ["10", "40"], "Depths: 10, 40.")
_REMAT = flags.DEFINE_multi_enum(
    "remat", ["recomputed", "kept"], ["recomputed", "kept"], "Activations in the backward pass."
)
_KERNELS = flags.DEFINE_bool("kernels", False, "Whether to trace a step of each.")

_BLOCKS = {10: (1, 2, 2, 2, 3), 40: (4, 6, 8, 10, 12)}  # per resolution
_DOWNSAMPLES = (2, 1, 1, 1, 0)


def _family(blocks: int, remat: bool) -> Family:
    network = {
        "kind": "conv", "blocks": _BLOCKS[blocks], "num_downsamples": _DOWNSAMPLES,
        "width": _WIDTH.value, "bottleneck_channels": _WIDTH.value // 4, "dtype": _DTYPE.value,
    }  # fmt: skip
    tx = optax.chain(optax.clip_by_global_norm(200.0), optax.adamw(2e-4, b2=0.9))
    players = {"vae": ({"nll": 1.0, "kl": 1.0}, tx)}
    return families.hierarchical(
        (32, 32, 3), players, network=network, merge="posterior_only", remat=remat,
        likelihood="discretized_logistic_mixture",
    )  # fmt: skip


class _Variant:
    """A compiled training step of a ladder."""

    def __init__(self, blocks: int, remat: bool) -> None:
        family = _family(blocks, remat)
        images = np.random.default_rng(0).integers(0, 256, (_BATCH.value, 32, 32, 3))
        self.batch = {"image": np.asarray(images, np.float32) / np.float32(255)}
        start = time.perf_counter()
        self.state = jax.jit(lambda batch: init_state(family, 0, batch, 0.0))(self.batch)
        jax.block_until_ready(self.state)
        self.init_seconds = time.perf_counter() - start
        traced = jax.jit(make_step(_family(blocks, False))).trace(self.state, self.batch, 0)
        self.flops = products(traced.jaxpr.jaxpr)
        lowered = jax.jit(make_step(family), donate_argnums=0).lower(self.state, self.batch, 0)
        start = time.perf_counter()
        self.run = lowered.compile()
        self.compile_seconds = time.perf_counter() - start
        analysis = self.run.memory_analysis()
        self.temporary = int(analysis.temp_size_in_bytes) if analysis else None
        self.parameters = sum(leaf.size for leaf in jax.tree.leaves(self.state.params))
        self.seconds: list[float] = []
        self.losses: list[float] = []

    def step(self) -> None:
        """Takes one step, and records its time and loss."""
        start = time.perf_counter()
        self.state, metrics, _ = self.run(self.state, self.batch, 0)
        loss = float(metrics["nll"] + metrics["kl"])
        self.seconds.append(time.perf_counter() - start)
        self.losses.append(loss)

    def result(self, peak_flops: float) -> dict[str, Any]:
        """The measurements, without the first step."""
        dims, nats = 32 * 32 * 3, np.log(2)
        return {
            "flops_per_step": self.flops,
            "share_of_peak": self.flops / statistics.median(self.seconds[1:]) / peak_flops,
            "parameters": self.parameters,
            "init_seconds": self.init_seconds,
            "compile_seconds": self.compile_seconds,
            "temporary_mib": self.temporary and self.temporary / 2**20,
            "step_seconds": statistics.median(self.seconds[1:]),
            "step_seconds_range": [min(self.seconds[1:]), max(self.seconds[1:])],
            "bits_per_dim": [loss / dims / nats for loss in (self.losses[0], self.losses[-1])],
        }


def main(argv: list[str]) -> None:
    """Measures, prints and writes."""
    del argv
    rows: dict[str, Any] = {}
    peak_flops = 0.0
    for blocks in map(int, _DEPTHS.value):
        pair = {remat: _Variant(blocks, remat == "recomputed") for remat in _REMAT.value}
        for _ in range(_REPEATS.value + 1):
            for variant in pair.values():
                variant.step()
        peak_flops = peak_flops or peaks(jnp.dtype(_DTYPE.value))["flops"]
        for remat, variant in pair.items():
            name = f"{blocks} blocks, {remat}"
            rows[name] = variant.result(peak_flops)
            if _KERNELS.value:
                rows[name]["kernels"] = largest_kernels(variant.step)
            print(name, json.dumps(rows[name]), flush=True)
    sizes = {"width": _WIDTH.value, "batch": _BATCH.value, "dtype": _DTYPE.value}
    peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    result = {**machine(), **sizes, "peak_flops": peak_flops}
    result |= {"peak_bytes_of_the_run": peak, "runs": rows}
    path = result_path(f"depth-{jax.default_backend()}.json")
    write_json(path, result)
    print(f"Wrote {path}.")


if __name__ == "__main__":
    app.run(main)
