"""log p(x) of 10,000 MNIST test images by 5,000 draws each: time, memory, and whether it is right.

  python -m benchmarks.likelihood [--workdir=runs/static_mnist_tanh] [--search]

The networks are those of `configs/beta_vae.py:static_mnist_tanh` (784-200-200-50, tanh). Without
the `--workdir` of a run, whose parameters are taken, they are trained for `--steps`. Measured are
the seconds of `importance_sampled`, compilation and all, by the clock and of its cores together; by
how much the process has grown at its largest (`ru_maxrss`); and what the compiled program wants
beside its inputs.

100 images are computed once more in float64 by NumPy, in code of its own, from the same
parameters and the same draws of standard noise. `--search` times other numbers of draws and of
images at once. Writes `results/likelihood-<device>.json`.
"""

import json
import resource
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks.machine import machine
from benchmarks.numpy_vae import numpy_log_likelihood, same_noise
from configs import beta_vae
from vaejax.core.game import Family, Params
from vaejax.core.registry import call
from vaejax.core.rng import key_of
from vaejax.core.sharding import make_mesh
from vaejax.data import Source
from vaejax.data.batches import eval_batches
from vaejax.data.preprocess import event_shape
from vaejax.evaluation.evaluate import evaluator
from vaejax.evaluation.likelihood import LIKELIHOOD, importance_sampled, log_likelihood
from vaejax.experiment import run
from vaejax.training import Settings, Trainer, fit
from vaejax.training.restore import open_run
from vaejax.training.train_step import eval_params

_WORKDIR = flags.DEFINE_string("workdir", "", "Of a trained run; none to train one.")
_STEPS = flags.DEFINE_integer("steps", 6000, "Training steps without a workdir.")
_SAMPLES = flags.DEFINE_integer("samples", 5000, "Draws for each image.")
_EXAMPLES = flags.DEFINE_integer("examples", 10_000, "Images.")
_CHUNK = flags.DEFINE_integer("chunk", 50, "Draws at once.")
_BATCH = flags.DEFINE_integer("batch", 100, "Images at once.")
_SEARCH = flags.DEFINE_bool("search", False, "Time other numbers of draws and images at once.")
_CHECKED = 100
_TRIED = ((1, 100), (10, 100), (50, 100), (200, 100), (10, 500), (2, 2000), (200, 10))


def _model() -> tuple[Family, Params, Source, str]:
    """The family, its parameters, the test images, and what it is."""
    if _WORKDIR.value:
        mesh = make_mesh(1)
        found = open_run(
            Path(_WORKDIR.value), mesh, "workdir", build=run.build, load_split=run.load_split
        )
        state = found.restore(0)
        about = f"a run of {int(state.step):,} steps"
        return found.family, eval_params(state), run.load_split(found.config, "eval"), about
    config = json.loads(beta_vae.get_config("static_mnist_tanh").to_json())
    source, test = run.load_split(config, "train"), run.load_split(config, "eval")
    family = run.build(config, event_shape(source))
    train = {k: v for k, v in config["train"].items() if k != "eval_examples"}
    settings = call(Settings, "train", **{**train, "steps": _STEPS.value})
    state = fit(Trainer(family, source, settings), settings).state
    return family, eval_params(state), test, f"trained for {_STEPS.value:,} steps"


def _search(family: Family, params: Params, test: Source) -> list[dict[str, float]]:
    """Microseconds for each draw of an image, by how many are taken at once."""
    found = []
    for chunk, batch in _TRIED:
        estimate = log_likelihood(family.model, 10 * chunk, chunk)
        rows = test.decode(test.take(np.arange(batch)))
        jax.block_until_ready(estimate(params, rows, jax.random.key(0)))
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            jax.block_until_ready(estimate(params, rows, jax.random.key(1)))
            times.append(1e6 * (time.perf_counter() - begun) / (10 * chunk * batch))
        found.append({"draws": chunk, "images": batch, "microseconds": min(times)})
        print(json.dumps(found[-1]), flush=True)
    return found


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(argv: list[str]) -> None:
    """Measures, prints, writes."""
    del argv
    family, params, test, about = _model()
    params = jax.tree.map(jnp.asarray, jax.device_get(params))
    samples, batch, chunk = _SAMPLES.value, _BATCH.value, _CHUNK.value
    result: dict[str, Any] = {**machine(), "model": about, "draws": samples, "chunk": chunk}
    result |= {"images": min(_EXAMPLES.value, test.size), "batch": batch}
    before, begun, worked = _peak_mib(), time.perf_counter(), time.process_time()
    options: dict[str, Any] = {"samples": samples, "chunk": chunk, "batch_size": batch}
    value = importance_sampled(family, test, params, examples=_EXAMPLES.value, **options)
    result["seconds"] = time.perf_counter() - begun
    result["processor_seconds"] = time.process_time() - worked
    result["grown_by_mib"], result["peak_mib"] = _peak_mib() - before, _peak_mib()
    result["log_likelihood"] = value
    result["elbo"] = evaluator(family, test, make_mesh(1), batch_size=batch)(params, 0)["elbo"]

    indices, _ = next(eval_batches(test.size, _CHECKED))
    x = test.decode(test.take(indices))
    estimate = log_likelihood(family.model, samples, chunk)
    compiled = estimate.lower(params, x, jax.random.key(0)).compile()
    result["program_mib"] = compiled.memory_analysis().temp_size_in_bytes / 2**20
    key, _ = jax.random.split(key_of(0, LIKELIHOOD, jnp.uint32(0)))
    got = np.asarray(compiled(params, x, key), np.float64)
    latents = params["encoder"][f"Dense_{len(params['encoder']) - 1}"]["bias"].shape[0] // 2
    if _SEARCH.value:
        result["search"] = _search(family, params, test)

    begun = time.perf_counter()
    noise = same_noise(key, samples, (_CHECKED, latents))
    want = numpy_log_likelihood(params, np.asarray(x["image"]), noise)
    gap = np.abs(got - want)
    result["numpy"] = {
        "images": _CHECKED,
        "seconds": time.perf_counter() - begun,
        "largest_difference": float(gap.max()),
        "difference_of_means": float(abs(got.mean() - want.mean())),
    }
    print(json.dumps(result, indent=2))
    path = Path(__file__).parent / "results" / f"likelihood-{jax.default_backend()}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    if gap.max() > 1e-3:
        raise SystemExit(f"differs from NumPy by {gap.max():.2e} nats")


if __name__ == "__main__":
    app.run(main)
