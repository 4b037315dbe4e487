"""A sweep of N models against N runs of one model each.

  python -m benchmarks.sweep [--models=8] [--steps=400] [--repeats=7]

Sweeps learning rate and seed of two β-VAEs: a tiny one (2-32-32-2, batch 64, vectors) and a small
one (784-128-64-8, batch 32, images). Each is trained, interleaved, as a sweep that maps all models
at once, as a sweep that trains one model after the other within the program, and as consecutive
single runs, all on one device. Times are per step of all models, in dispatches of 100 steps,
without compilation; and up to the second dispatch, mainly compilation, once and without a cache.
Writes `results/sweep-<device>.json`.
"""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax
from absl import app, flags

from vaejax.core.game import Family
from vaejax.core.sharding import make_mesh
from vaejax.data import Source, from_arrays
from vaejax.families import beta_vae
from vaejax.sweeps import Sweep, product
from vaejax.training import Settings, Trainer

from .machine import machine
from .paths import result_path, write_json

__all__ = ["main"]

_MODELS = flags.DEFINE_integer("models", 8, "Models in the sweep.")
_STEPS = flags.DEFINE_integer("steps", 400, "Steps in each repeat, a multiple of 100.")
_REPEATS = flags.DEFINE_integer("repeats", 7, "Interleaved repeats.")

_DISPATCH = 100
# Name -> shape of an event, hidden layers, latent dimensions, batch.
_SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...], int, int]] = {
    "tiny": ((2,), (32, 32), 2, 64),
    "small": ((28, 28, 1), (128, 64), 8, 32),
}
_TakeSteps = Callable[[int], None]  # takes this many further steps


def _source(shape: tuple[int, ...]) -> Source:
    rng = np.random.default_rng(0)
    if len(shape) == 1:
        rows = {"vector": rng.normal(size=(10_000, *shape)).astype(np.float32)}
    else:
        rows = {"image": rng.integers(0, 256, (10_000, *shape), dtype=np.uint8)}
    return from_arrays(rows, "train", name="noise", holdout=0.0)


def _training(trainer: Trainer | Sweep) -> _TakeSteps:
    """Training that continues with every call."""
    state, done = trainer.init(), 0

    def take_steps(steps: int) -> None:
        nonlocal state, done
        spans = [(s, s + _DISPATCH) for s in range(done, done + steps, _DISPATCH)]
        for span, batches in trainer.loader.batches(spans):
            state, _ = trainer.dispatch(state, span, batches)
        jax.block_until_ready(state)
        done += steps

    return take_steps


def _variants(size: str, models: int) -> dict[str, Callable[[], _TakeSteps]]:
    """Variants of training all models; each call starts one."""
    shape, hidden, latent_dim, batch = _SIZES[size]
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

    def sweep(chunk: int) -> _TakeSteps:
        return _training(Sweep(make, grid, source, settings, mesh=mesh, chunk=chunk))

    def single_runs() -> _TakeSteps:
        runs = [
            _training(
                Trainer(make(grid.of(i)), source, settings, seed=int(grid.seeds[i]), mesh=mesh)
            )
            for i in range(grid.size)
        ]

        def take_steps(steps: int) -> None:
            for run in runs:
                run(steps)

        return take_steps

    return {
        "at once": lambda: sweep(grid.size),
        "one after another": lambda: sweep(1),
        "single runs": single_runs,
    }


def _measure(size: str, models: int, steps: int, repeats: int) -> dict[str, Any]:
    seconds_to_start, variants = {}, {}
    for name, start_variant in _variants(size, models).items():
        start = time.perf_counter()
        variants[name] = start_variant()
        variants[name](_DISPATCH)
        seconds_to_start[name] = time.perf_counter() - start
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(repeats):
        for name, take_steps in variants.items():
            start = time.perf_counter()
            take_steps(steps)
            times[name].append(1e3 * (time.perf_counter() - start) / steps)
    result: dict[str, Any] = {
        "ms_per_step_of_all": {name: statistics.median(t) for name, t in times.items()},
        "seconds_to_start": seconds_to_start,
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
    # With the cache, the second variant would reuse compiled parts of the first.
    jax.config.update("jax_enable_compilation_cache", False)
    models, steps, repeats = _MODELS.value, _STEPS.value, _REPEATS.value
    sizes = {size: _measure(size, models, steps, repeats) for size in _SIZES}
    result = {**machine(), "models": models + models % 2, "steps": steps, **sizes}
    write_json(result_path(f"sweep-{jax.default_backend()}.json"), result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    app.run(main)
