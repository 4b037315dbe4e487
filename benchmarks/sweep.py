"""A sweep of N models against N runs of one model each.

  python -m benchmarks.sweep [--models=8] [--steps=400] [--repeats=7]

Two β-VAEs, of which learning rate and seed differ: a tiny one (2-32-32-2, batch 64, vectors) and a
small one (784-128-64-8, batch 32, images). Each is trained, interleaved, as a sweep that maps all
models at once, as one that takes them one after another within the program, and as single runs one
after another, all on one device. Times are of one step of all models, in dispatches of 100 steps,
without compilation; and of all that comes before the second dispatch, compilation above all, once
and without a cache. Writes `results/sweep-<device>.json`.
"""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from absl import app, flags

from benchmarks.machine import machine
from vaejax.core.game import Family
from vaejax.core.sharding import make_mesh
from vaejax.data import Source, from_arrays
from vaejax.families import beta_vae
from vaejax.sweeps import Sweep, product
from vaejax.training import Settings, Trainer

_MODELS = flags.DEFINE_integer("models", 8, "Models in the sweep.")
_STEPS = flags.DEFINE_integer("steps", 400, "Steps in each repeat, a multiple of 100.")
_REPEATS = flags.DEFINE_integer("repeats", 7, "Interleaved repeats.")

_DISPATCH = 100
# Name -> shape of an event, hidden layers, latent dimensions, batch.
SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...], int, int]] = {
    "tiny": ((2,), (32, 32), 2, 64),
    "small": ((28, 28, 1), (128, 64), 8, 32),
}
Go = Callable[[int], None]  # trains so many steps more


def _source(shape: tuple[int, ...]) -> Source:
    rng = np.random.default_rng(0)
    if len(shape) == 1:
        rows = {"vector": rng.normal(size=(10_000, *shape)).astype(np.float32)}
    else:
        rows = {"image": rng.integers(0, 256, (10_000, *shape), dtype=np.uint8)}
    return from_arrays(rows, "train", name="noise", holdout=0.0)


def _goes(trainer: Trainer | Sweep) -> Go:
    """Trains on from where the last call ended."""
    state, done = trainer.init(), 0

    def go(steps: int) -> None:
        nonlocal state, done
        spans = [(s, s + _DISPATCH) for s in range(done, done + steps, _DISPATCH)]
        for span, chunk in trainer.feed.chunks(spans):
            state, _ = trainer.dispatch(state, span, chunk)
        jax.block_until_ready(state)
        done += steps

    return go


def _ways(size: str, models: int) -> dict[str, Callable[[], Go]]:
    """Ways to train all models, each to be started by a call."""
    shape, hidden, latent_dim, batch = SIZES[size]
    likelihood = "bernoulli" if len(shape) > 1 else {"kind": "normal", "scale": 0.1}

    def make(values: Mapping[str, Any]) -> Family:
        players = {"vae": ({"nll": 1.0, "kl": 1.0}, optax.adam(values["rate"]))}
        network = {"kind": "mlp", "hidden": hidden}
        return beta_vae(
            shape, players, latent_dim=latent_dim, network=network, likelihood=likelihood
        )

    source, mesh = _source(shape), make_mesh(1)
    grid = product({"rate": tuple(np.geomspace(1e-4, 1e-3, (models + 1) // 2).tolist())}, (0, 1))
    settings = Settings(steps=10**9, batch_size=batch, steps_per_dispatch=_DISPATCH)

    def sweep(chunk: int) -> Go:
        return _goes(Sweep(make, grid, source, settings, mesh=mesh, chunk=chunk))

    def singles() -> Go:
        each = [
            _goes(Trainer(make(grid.of(i)), source, settings, seed=int(grid.seeds[i]), mesh=mesh))
            for i in range(grid.size)
        ]

        def go(steps: int) -> None:
            for one in each:
                one(steps)

        return go

    return {
        "at once": lambda: sweep(grid.size),
        "one after another": lambda: sweep(1),
        "single runs": singles,
    }


def _measure(size: str, models: int, steps: int, repeats: int) -> dict[str, Any]:
    starts, goes = {}, {}
    for name, start in _ways(size, models).items():
        begun = time.perf_counter()
        goes[name] = start()
        goes[name](_DISPATCH)
        starts[name] = time.perf_counter() - begun
    times: dict[str, list[float]] = {name: [] for name in goes}
    for _ in range(repeats):
        for name, go in goes.items():
            begun = time.perf_counter()
            go(steps)
            times[name].append(1e3 * (time.perf_counter() - begun) / steps)
    result: dict[str, Any] = {
        "ms_per_step_of_all": {name: statistics.median(t) for name, t in times.items()},
        "seconds_to_start": starts,
    }
    for name in ("at once", "one after another"):
        ratios = [a / b for a, b in zip(times["single runs"], times[name], strict=True)]
        result[f"faster than single runs, {name}"] = {
            "median": statistics.median(ratios),
            "range": [min(ratios), max(ratios)],
        }
    return result


def main(argv: list[str]) -> None:
    """Measures, prints and writes."""
    del argv
    # The second program would find the first one's parts compiled.
    jax.config.update("jax_enable_compilation_cache", False)
    models, steps, repeats = _MODELS.value, _STEPS.value, _REPEATS.value
    sizes = {size: _measure(size, models, steps, repeats) for size in SIZES}
    result = {**machine(), "models": models + models % 2, "steps": steps, **sizes}
    path = Path(__file__).parent / "results" / f"sweep-{jax.default_backend()}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    app.run(main)
