"""What depth costs: compile time, step time and memory of a very deep ladder.

  python -m benchmarks.depth [--blocks=10,40] [--width=128] [--batch=8] [--repeats=5]

Trains ladders in the style of VDVAE (2011.10650) on 32×32×3 noise: 10 and 40 blocks over the five
resolutions from 1×1 to 32×32, each with and without recomputation in the backward pass. Memory is
what the compiler says the step needs beside its inputs, and where the backend tells it, the peak of
the device. The runs of a depth are interleaved. The share of the machine's limit, that of a large
matrix product in the same dtype, counts the products of a step without recomputation, whether it
recomputes or not. Writes `results/depth-<device>.json`.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

from benchmarks.flops import products
from benchmarks.machine import machine
from benchmarks.peak import peaks
from vaejax import families
from vaejax.core.game import Family
from vaejax.training.train_step import init_state, make_step

_WIDTH = flags.DEFINE_integer("width", 128, "Channels of h; a quarter of it inside the blocks.")
_BATCH = flags.DEFINE_integer("batch", 8, "Images a step.")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Interleaved repeats of one step.")
_DTYPE = flags.DEFINE_string("dtype", "float32", "In which the networks compute.")
_BLOCKS = flags.DEFINE_list("blocks", ["10", "40"], "Depths: 10, 40.")
_REMAT = flags.DEFINE_multi_enum(
    "remat", ["recomputed", "kept"], ["recomputed", "kept"], "What the backward pass finds."
)

BLOCKS = {10: (1, 2, 2, 2, 3), 40: (4, 6, 8, 10, 12)}
HALVINGS = (2, 1, 1, 1, 0)


def _family(blocks: int, remat: bool) -> Family:
    network = {
        "kind": "conv", "blocks": BLOCKS[blocks], "halvings_before": HALVINGS,
        "width": _WIDTH.value, "middle": _WIDTH.value // 4, "dtype": _DTYPE.value,
    }  # fmt: skip
    tx = optax.chain(optax.clip_by_global_norm(200.0), optax.adamw(2e-4, b2=0.9))
    players = {"vae": ({"nll": 1.0, "kl": 1.0}, tx)}
    return families.hierarchical(
        (32, 32, 3), players, network=network, merge="alone", remat=remat,
        likelihood="discretized_logistic_mixture",
    )  # fmt: skip


class Variant:
    """One ladder, compiled."""

    def __init__(self, blocks: int, remat: bool) -> None:
        family = _family(blocks, remat)
        images = np.random.default_rng(0).integers(0, 256, (_BATCH.value, 32, 32, 3))
        self.batch = {"image": np.asarray(images, np.float32) / np.float32(255)}
        begun = time.perf_counter()
        self.state = jax.jit(lambda batch: init_state(family, 0, batch, 0.0))(self.batch)
        jax.block_until_ready(self.state)
        self.init_seconds = time.perf_counter() - begun
        whole = jax.jit(make_step(_family(blocks, False))).trace(self.state, self.batch, 0)
        self.flops = products(whole.jaxpr.jaxpr)
        lowered = jax.jit(make_step(family), donate_argnums=0).lower(self.state, self.batch, 0)
        begun = time.perf_counter()
        self.run = lowered.compile()
        self.compile_seconds = time.perf_counter() - begun
        analysis = self.run.memory_analysis()
        self.temporary = int(analysis.temp_size_in_bytes) if analysis else None
        self.parameters = sum(leaf.size for leaf in jax.tree.leaves(self.state.params))
        self.seconds: list[float] = []
        self.losses: list[float] = []

    def step(self) -> None:
        """One step, timed and awaited."""
        begun = time.perf_counter()
        self.state, named, _ = self.run(self.state, self.batch, 0)
        loss = float(named["nll"] + named["kl"])
        self.seconds.append(time.perf_counter() - begun)
        self.losses.append(loss)

    def result(self, peak_flops: float) -> dict[str, Any]:
        """What was measured; the first step is left out."""
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
    for blocks in map(int, _BLOCKS.value):
        pair = {remat: Variant(blocks, remat == "recomputed") for remat in _REMAT.value}
        for _ in range(_REPEATS.value + 1):
            for variant in pair.values():
                variant.step()
        peak_flops = peak_flops or peaks(jnp.dtype(_DTYPE.value))["flops"]
        for remat, variant in pair.items():
            name = f"{blocks} blocks, {remat}"
            rows[name] = variant.result(peak_flops)
            print(name, json.dumps(rows[name]), flush=True)
    own = {"width": _WIDTH.value, "batch": _BATCH.value, "dtype": _DTYPE.value}
    peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    result = {**machine(), **own, "peak_flops": peak_flops}
    result |= {"peak_bytes_of_the_run": peak, "runs": rows}
    path = Path(__file__).parent / "results" / f"depth-{jax.default_backend()}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"Wrote {path}.")


if __name__ == "__main__":
    app.run(main)
