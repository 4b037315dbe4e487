"""How much of a training step is the host's: time lost between dispatches.

  python -m benchmarks.host_time [--repeats=7]

Trains the MLP β-VAE (784-512-256-16, batch 128) on synthetic grey images, interleaved in two ways:
as users do, through `fit`, a dispatch every 20 steps, with records and progress; and as one
dispatch of all the steps, in which the host has nothing to do. Writes
`results/host_time-<device>.json`.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import optax
from absl import app, flags

from benchmarks.machine import machine
from vaejax.data import from_arrays
from vaejax.families import beta_vae
from vaejax.training import Settings, Trainer, fit

_REPEATS = flags.DEFINE_integer("repeats", 7, "Interleaved repeats.")
_STEPS = flags.DEFINE_integer("steps", 400, "Steps in each.")


def _trainer(per_dispatch: int, steps: int) -> tuple[Trainer, Settings]:
    network = {"kind": "mlp", "hidden": (512, 256)}
    players = {"vae": ({"nll": 1.0, "kl": 1.0}, optax.adam(1e-3))}
    family = beta_vae((28, 28, 1), players, latent_dim=16, network=network)
    images = np.random.default_rng(0).integers(0, 256, (20_000, 28, 28, 1), dtype=np.uint8)
    source = from_arrays({"image": images}, "train", name="noise", holdout=0.0)
    settings = Settings(
        steps=steps, batch_size=128, steps_per_dispatch=per_dispatch, checkpoint_every=0
    )
    return Trainer(family, source, settings), settings


def main(argv: list[str]) -> None:
    """Measures, prints and writes."""
    del argv
    steps = _STEPS.value
    as_users_do, settings = _trainer(20, steps)
    alone, _ = _trainer(steps, steps)
    span, chunk = next(alone.feed.chunks([(0, steps)]))
    jax.block_until_ready(alone.dispatch(alone.init(), span, chunk))
    jax.block_until_ready(as_users_do.init())
    fit(as_users_do, settings)

    times: dict[str, list[float]] = {"fit": [], "one dispatch": []}
    for _ in range(_REPEATS.value):
        with tempfile.TemporaryDirectory() as folder:
            # The rate that `fit` reports leaves out its initialisation.
            outcome = fit(as_users_do, settings, workdir=Path(folder))
            times["fit"].append(1e3 / outcome.rate)
        state = jax.block_until_ready(alone.init())
        begun = time.perf_counter()
        jax.block_until_ready(alone.dispatch(state, span, chunk))
        times["one dispatch"].append(1e3 * (time.perf_counter() - begun) / steps)

    median = {name: statistics.median(values) for name, values in times.items()}
    ratios = [a / b for a, b in zip(times["fit"], times["one dispatch"], strict=True)]
    result = {
        **machine(),
        "ms_per_step": median,
        "ratio_median": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
    }
    path = Path(__file__).parent / "results" / f"host_time-{jax.default_backend()}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    app.run(main)
