"""Many β-VAEs of sprites, trained as one program.

  python -m benchmarks.many_models [--models=300] [--dtype=bfloat16] [--repeats=5]

The networks, batch size and optimizer are those of 1811.12359, on all sprites; the models differ in
β and seed. Times dispatches of 20 steps, and extrapolates to the 300,000 steps of the paper,
without checkpoints and evaluations. Writes `results/many_models-<device>.json`, in which other
numbers of models keep their last measurements.
"""

import json
import statistics
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import optax
from absl import app, flags

from vaejax.core.game import Family
from vaejax.core.sharding import make_mesh
from vaejax.data.load import load
from vaejax.families import beta_vae
from vaejax.sweeps import Sweep, product
from vaejax.training import Settings

from .machine import device_name, machine
from .paths import result_path, write_json

__all__ = ["main"]

_MODELS = flags.DEFINE_integer("models", 300, "Number of models, a multiple of 5, the seeds.")
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of the networks.")
_SOURCE = flags.DEFINE_string("source", "sprites", "Data.")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Timed dispatches.")

_BATCH, _DISPATCH, _STEPS, _SEEDS = 64, 20, 300_000, 5
flags.register_validator(
    "models", lambda n: n > 0 and n % _SEEDS == 0, f"expected a positive multiple of {_SEEDS}"
)


def _sweep(models: int, dtype: str) -> Sweep:
    source = load(_SOURCE.value, "train")

    def make(values: Mapping[str, Any]) -> Family:
        players = {"vae": ({"nll": 1.0, "kl": values["beta"]}, optax.adam(1e-4))}
        network = {"kind": "conv", "dtype": dtype}
        return beta_vae(
            (64, 64, 1), players, latent_dim=10, network=network, likelihood="bernoulli"
        )

    betas = np.geomspace(1.0, 16.0, models // _SEEDS).tolist()
    grid = product({"beta": tuple(betas)}, tuple(range(_SEEDS)))
    settings = Settings(steps=_STEPS, batch_size=_BATCH, steps_per_dispatch=_DISPATCH)
    return Sweep(make, grid, source, settings, mesh=make_mesh())


def _dispatch_seconds(sweep: Sweep, state: Any, batches: Any, repeats: int) -> list[float]:
    seconds = []
    for span, stacked in batches:
        start = time.perf_counter()
        state, _ = jax.block_until_ready(sweep.dispatch(state, span, stacked))
        seconds.append(time.perf_counter() - start)
        if len(seconds) == repeats:
            break
    return seconds


def main(argv: list[str]) -> None:
    """Measures, prints and writes."""
    del argv
    sweep = _sweep(_MODELS.value, _DTYPE.value)
    models, repeats = sweep.grid.size, _REPEATS.value
    spans = [(i * _DISPATCH, (i + 1) * _DISPATCH) for i in range(repeats + 3)]
    batches = sweep.loader.batches(spans)
    start = time.perf_counter()
    span, stacked = next(batches)
    state, _ = jax.block_until_ready(sweep.dispatch(sweep.init(), span, stacked))
    seconds_to_start = time.perf_counter() - start
    seconds = _dispatch_seconds(sweep, state, batches, repeats + 1)[1:]
    step = statistics.median(seconds) / _DISPATCH
    row = {
        **machine(),
        "models": models,
        "dtype": _DTYPE.value,
        "seconds_to_start": seconds_to_start,
        "ms_per_step_of_all": 1e3 * step,
        "ms_per_step_range": [1e3 * f(seconds) / _DISPATCH for f in (min, max)],
        "images_per_second": models * _BATCH / step,
        "hours_for_300k_steps": _STEPS * step / 3600,
        "models_of_300k_steps_per_hour": models * 3600 / (_STEPS * step),
        "peak_bytes": (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use"),
    }
    path = result_path(f"many_models-{device_name()}.json")
    rows = json.loads(path.read_text()) if path.exists() else {}
    rows[f"{models}, {_DTYPE.value}"] = row
    write_json(path, rows)
    print(json.dumps(row, indent=2) + f"\nWrote {path}.")


if __name__ == "__main__":
    app.run(main)
