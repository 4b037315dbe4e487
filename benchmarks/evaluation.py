"""Time of evaluation metrics, beside straightforward implementations on the same codes.

  python -m benchmarks.evaluation [--metrics=mig,frechet] [--images=500] [--draws=5000]

`reference_metrics` has the others, in NumPy, SciPy and scikit-learn. Every case checks that both
give the same value: up to rounding where both are deterministic, else up to the spread of random
sets. The first call of ours compiles, and is timed by itself; of further calls the fastest counts.
Times are of the wall clock, and in brackets of the processor.

Writes `results/evaluation-<device>.json` and a table `.md`, in which cases that are left out keep
their last measurements.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from vaejax.core import game
from vaejax.core.game import Family, Params
from vaejax.evaluation import disentanglement as metrics
from vaejax.evaluation.annealed_importance_sampling import (
    annealed_importance_sampling,
    beta_schedule,
)
from vaejax.evaluation.generation.frechet import frechet_distance, moments
from vaejax.evaluation.likelihood import log_likelihood
from vaejax.experiment.build import build

from . import reference_metrics as reference
from .machine import device_name
from .numpy_vae import likelihood_noise, numpy_log_likelihood
from .paths import config_of, result_path
from .records import measure_rows

__all__ = ["CASES", "Case", "as_table", "main", "measure"]

_SIZES = (3, 6, 40, 32, 32)  # of the factors of sprites
_BATCH, _CHUNK = 100, 50  # images and draws at once
_IMAGES = flags.DEFINE_integer("images", 500, "Images whose log p(x) is sampled.")
_DRAWS = flags.DEFINE_integer("draws", 5000, "Samples of each.")
_REPEATS = flags.DEFINE_integer("repeats", 2, "Calls after the first; the fastest counts.")


class Case(NamedTuple):
    """A metric in two implementations.

    Attributes:
      size: what it is computed of.
      ours: the library's; returns its value.
      other: the straightforward one.
      tolerance: how far the two values may differ.
      share: how much less the other computes than ours, at an equal cost for each part.
    """

    size: str
    ours: Callable[[], Any]
    other: Callable[[], Any]
    tolerance: float
    share: float = 1.0


def _codes(n: int = 15_000) -> tuple[np.ndarray, np.ndarray]:
    """Codes float32 `[n, 10]`: five factors with noise, in rotated pairs, and noise alone."""
    random = np.random.RandomState(0)
    y = np.stack([random.randint(size, size=n) for size in _SIZES], axis=1).astype(np.int32)
    z = (y - y.mean(axis=0)) / y.std(axis=0) + 0.7 * random.standard_normal(y.shape)
    z[:, 3:] = z[:, 3:] @ (np.array([[1, -1], [1, 1]]) / np.sqrt(2))
    return np.concatenate([z, random.standard_normal(y.shape)], axis=1).astype(np.float32), y


def _mig() -> Case:
    z, y = _codes()
    return Case(
        "15,000 × 10 codes, 5 factors",
        lambda: metrics.mig(z, y)["mig"],
        lambda: reference.mutual_information_gap(z, y),
        1e-4,
    )


def _factor_vae() -> Case:
    z, y = _codes()
    key = jax.random.key(0)
    return Case(
        "15,000 votes of 64 examples",
        lambda: metrics.factor_vae_score_of_codes(z, y, key)["factor_vae_score"],
        lambda: reference.factor_vae_score(z, y),
        0.03,
    )


def _beta_vae() -> Case:
    z, y = _codes()
    key = jax.random.key(0)
    return Case(
        "15,000 points of 64 pairs",
        lambda: metrics.beta_vae_score_of_codes(z, y, key)["beta_vae_score"],
        lambda: reference.beta_vae_score(z, y),
        0.03,
    )


def _frechet() -> Case:
    random = np.random.RandomState(0)
    a = random.standard_normal((4000, 1024))
    b = random.standard_normal((4000, 1024)) * np.linspace(0.5, 1.5, 1024) + 0.1
    return Case(
        "2 × 4,000 × 1,024 features",
        lambda: frechet_distance(moments([a]), moments([b])),
        lambda: reference.frechet_distance(a, b),
        1e-6,
    )


def _perceptron() -> tuple[Family, Params, jax.Array]:
    """The networks 784-200-200-50 with tanh, at random parameters, and random binary images."""
    family = build(config_of("beta_vae:static_mnist_tanh"), (28, 28, 1))
    x = jax.random.bernoulli(jax.random.key(1), 0.2, (_BATCH, 28, 28, 1)).astype(jnp.float32)
    params = jax.jit(lambda x: game.init(family, jax.random.key(0), {"image": x}))(x)
    return family, params, x


def _importance() -> Case:
    family, params, x = _perceptron()
    images, draws, key = _IMAGES.value, _DRAWS.value, jax.random.key(2)
    estimate = log_likelihood(family.model, draws, _CHUNK)
    few, few_draws = 20, 500
    checked = log_likelihood(family.model, few_draws, _CHUNK)(params, {"image": x}, key)
    noise = likelihood_noise(key, few_draws, (_BATCH, 50))[:, :few]

    def ours() -> float:
        for _ in range(images // _BATCH):  # of equal cost, whatever the images
            estimate(params, {"image": x}, key).block_until_ready()
        return float(checked[:few].mean())

    return Case(
        f"{images:,} images × {draws:,} draws",
        ours,
        lambda: numpy_log_likelihood(params, np.asarray(x[:few]), noise).mean(),
        1e-3,
        few * few_draws / (images * draws),
    )


def _annealing() -> Case:
    family, params, x = _perceptron()
    x, temperatures, chains = x[:10], 50, 2
    options = {"temperatures": temperatures, "chains": chains}

    def run(params: Params, x: jax.Array, key: jax.Array) -> jax.Array:
        batch = {"image": x}
        return annealed_importance_sampling(family.model, params, batch, key, **options).log_p

    compiled, betas = jax.jit(run), np.asarray(beta_schedule(temperatures), np.float64)
    pixels = np.asarray(x, np.float64).reshape(len(x), -1)
    decoder = params["decoder"]
    return Case(
        f"10 images, {chains} chains, {temperatures} temperatures, 10 leapfrog steps",
        lambda: compiled(params, x, jax.random.key(3)).mean(),
        lambda: reference.annealed_log_likelihood(decoder, pixels, betas, chains=chains).mean(),
        1.0,
    )


CASES: dict[str, Callable[[], Case]] = {
    "mig": _mig,
    "factor_vae_score": _factor_vae,
    "beta_vae_score": _beta_vae,
    "frechet": _frechet,
    "importance_sampling": _importance,
    "annealed_importance_sampling": _annealing,
}
_CASES = flags.DEFINE_list("metrics", list(CASES), "Which metrics.")


def _timed(function: Callable[[], Any]) -> tuple[float, tuple[float, float]]:
    """Its value, and seconds of the wall clock and of the processor."""
    start, processor = time.perf_counter(), time.process_time()
    value = float(function())
    return value, (time.perf_counter() - start, time.process_time() - processor)


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """Times and values of a case.

    Raises:
      AssertionError: the values differ by more than the tolerance.
    """
    value, first = _timed(case.ours)
    ours, others, expected = [], [], 0.0
    for _ in range(repeats):
        ours.append(_timed(case.ours)[1])
        expected, times = _timed(case.other)
        others.append(tuple(t / case.share for t in times))
    difference = abs(value - expected)
    assert difference <= case.tolerance, f"{value} and {expected} differ by {difference}"
    best, other = min(ours), min(others)
    return {
        "size": case.size,
        "first_seconds": first[0],
        "first_processor_seconds": first[1],
        "seconds": best[0],
        "processor_seconds": best[1],
        "other_seconds": other[0],
        "other_processor_seconds": other[1],
        "value": value,
        "other_value": expected,
        "tolerance": case.tolerance,
    }


def as_table(record: dict[str, Any]) -> str:
    """The record as a Markdown table."""
    lines = [
        f"{record['device']}, {record['processor']}, {record['cores']} cores; jax {record['jax']}. "
        "Seconds, and in brackets processor time.",
        "",
        "| metric | of | first call | next calls | straightforward | ratio | values | commit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in record["cases"].items():
        pairs = (
            f"{row[f'{part}seconds']:.3g} ({row[f'{part}processor_seconds']:.3g})"
            for part in ("first_", "", "other_")
        )
        ratio = row["other_processor_seconds"] / row["processor_seconds"]
        lines.append(
            f"| {name} | {row['size']} | {' | '.join(pairs)} | {ratio:.3g} | "
            f"{row['value']:.6g}, {row['other_value']:.6g} | {row['commit']} |"
        )
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Measures, prints and writes."""
    del argv
    measure_rows(
        result_path(f"evaluation-{device_name()}.json"),
        "cases",
        _CASES.value,
        lambda name: measure(CASES[name](), _REPEATS.value),
        as_table,
    )


if __name__ == "__main__":
    app.run(main)
