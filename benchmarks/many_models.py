"""As many β-VAEs of sprites as are wanted, trained as one program.

  python -m benchmarks.many_models [--models=300] [--dtype=bfloat16] [--repeats=5]

The networks, batch and optimizer of 1811.12359 on all sprites; β and seed differ. Whole dispatches
of 20 steps are timed; from them follows how long its 300,000 steps would take, checkpoints and
evaluations apart. Writes `results/many_models-<device>.json`, in which other numbers of models stay
as they were last measured.
"""

import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from absl import app, flags

from benchmarks.machine import device_name, machine
from vaejax.core.game import Family
from vaejax.core.sharding import make_mesh
from vaejax.data.load import load
from vaejax.families import beta_vae
from vaejax.sweeps import Sweep, product
from vaejax.training import Settings

_MODELS = flags.DEFINE_integer("models", 300, "How many; a multiple of 5, the seeds.")
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Networks compute in it.")
_SOURCE = flags.DEFINE_string("source", "sprites", "What they learn.")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Timed dispatches.")

BATCH, DISPATCH, STEPS, SEEDS = 64, 20, 300_000, 5
flags.register_validator(
    "models", lambda n: n > 0 and n % SEEDS == 0, f"expected a positive multiple of {SEEDS}"
)


def _sweep(models: int, dtype: str) -> Sweep:
    source = load(_SOURCE.value, "train")

    def make(values: Mapping[str, Any]) -> Family:
        players = {"vae": ({"nll": 1.0, "kl": values["beta"]}, optax.adam(1e-4))}
        network = {"kind": "conv", "dtype": dtype}
        return beta_vae(
            (64, 64, 1), players, latent_dim=10, network=network, likelihood="bernoulli"
        )

    betas = np.geomspace(1.0, 16.0, models // SEEDS).tolist()
    grid = product({"beta": tuple(betas)}, tuple(range(SEEDS)))
    settings = Settings(steps=STEPS, batch_size=BATCH, steps_per_dispatch=DISPATCH)
    return Sweep(make, grid, source, settings, mesh=make_mesh())


def times(sweep: Sweep, state: Any, chunks: Any, repeats: int) -> list[float]:
    """Seconds of each dispatch."""
    found = []
    for span, chunk in chunks:
        begun = time.perf_counter()
        state, _ = jax.block_until_ready(sweep.dispatch(state, span, chunk))
        found.append(time.perf_counter() - begun)
        if len(found) == repeats:
            break
    return found


def main(argv: list[str]) -> None:
    """Measures, prints and writes."""
    del argv
    sweep = _sweep(_MODELS.value, _DTYPE.value)
    models, repeats = sweep.grid.size, _REPEATS.value
    chunks = sweep.feed.chunks([(i * DISPATCH, (i + 1) * DISPATCH) for i in range(repeats + 3)])
    begun = time.perf_counter()
    span, chunk = next(chunks)
    state, _ = jax.block_until_ready(sweep.dispatch(sweep.init(), span, chunk))
    start = time.perf_counter() - begun
    each = times(sweep, state, chunks, repeats + 1)[1:]
    step = statistics.median(each) / DISPATCH
    row = {
        **machine(),
        "models": models,
        "dtype": _DTYPE.value,
        "seconds_to_start": start,
        "ms_per_step_of_all": 1e3 * step,
        "ms_per_step_range": [1e3 * f(each) / DISPATCH for f in (min, max)],
        "images_per_second": models * BATCH / step,
        "hours_for_300k_steps": STEPS * step / 3600,
        "models_of_300k_steps_per_hour": models * 3600 / (STEPS * step),
        "peak_bytes": (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use"),
    }
    path = Path(__file__).parent / "results" / f"many_models-{device_name()}.json"
    rows = json.loads(path.read_text()) if path.exists() else {}
    rows[f"{models}, {_DTYPE.value}"] = row
    path.write_text(json.dumps(rows, indent=2) + "\n")
    print(json.dumps(row, indent=2) + f"\nWrote {path}.")


if __name__ == "__main__":
    app.run(main)
