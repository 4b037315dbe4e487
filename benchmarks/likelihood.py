"""log p(x) of 10,000 MNIST test images with 5,000 samples each: time, memory, correctness.

  python -m benchmarks.likelihood [--workdir=runs/static_mnist_tanh] [--search]

The networks are those of `configs/beta_vae.py:static_mnist_tanh` (784-200-200-50, tanh), with the
parameters of the run in `--workdir`, or else trained for `--steps`. Measures the wall-clock and the
processor time of `importance_sampled`, compilation included; the growth of the process's peak
memory (`ru_maxrss`); and the temporary memory of the compiled program.

A reference implementation in NumPy and float64 recomputes 100 images with the same parameters and
the same noise. `--search` times other numbers of samples and images at once. Writes
`results/likelihood-<device>.json`.
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

from vaejax.core.game import Family, Params
from vaejax.core.rng import Stream, key_of
from vaejax.core.sharding import make_mesh
from vaejax.data import Source
from vaejax.data.batches import eval_batches
from vaejax.data.preprocess import event_shape
from vaejax.evaluation import EvaluationContext
from vaejax.evaluation.evaluate import evaluator
from vaejax.evaluation.likelihood import importance_sampled, log_likelihood
from vaejax.experiment.build import build, load_split, training_settings
from vaejax.training import Trainer, fit
from vaejax.training.restore import open_run
from vaejax.training.train_step import eval_params

from .machine import machine
from .numpy_vae import likelihood_noise, numpy_log_likelihood
from .paths import config_of, result_path, write_json

__all__ = ["main"]

_WORKDIR = flags.DEFINE_string("workdir", "", "Of a finished run; default: train a model.")
_STEPS = flags.DEFINE_integer("steps", 6000, "Training steps without a workdir.")
_SAMPLES = flags.DEFINE_integer("samples", 5000, "Samples of each image.")
_EXAMPLES = flags.DEFINE_integer("examples", 10_000, "Images.")
_CHUNK = flags.DEFINE_integer("chunk", 50, "Samples at once.")
_BATCH = flags.DEFINE_integer("batch", 100, "Images at once.")
_SEARCH = flags.DEFINE_bool("search", False, "Time other numbers of samples and images at once.")
_CHECKED = 100  # images
# (samples, images) at once.
_SEARCHED = ((1, 100), (10, 100), (50, 100), (200, 100), (10, 500), (2, 2000), (200, 10))


def _model() -> tuple[Family, Params, Source, str]:
    """The family, its parameters, the test images, and a description."""
    if _WORKDIR.value:
        run = open_run(
            Path(_WORKDIR.value), make_mesh(1), "workdir", build=build, load_split=load_split
        )
        state = run.restore(0)
        about = f"a run of {int(state.step):,} steps"
        return run.family, eval_params(state), load_split(run.config, "eval"), about
    config = config_of("beta_vae:static_mnist_tanh")
    config["train"]["steps"] = _STEPS.value
    source, test = load_split(config, "train"), load_split(config, "eval")
    family = build(config, event_shape(source))
    settings, _ = training_settings(config)
    state = fit(Trainer(family, source, settings), settings).state
    return family, eval_params(state), test, f"trained for {_STEPS.value:,} steps"


def _search(family: Family, params: Params, test: Source) -> list[dict[str, float]]:
    """Microseconds per sample of an image, for numbers of samples and images at once."""
    results = []
    for chunk, batch in _SEARCHED:
        estimate = log_likelihood(family.model, 10 * chunk, chunk)
        rows = test.decode(test.take(np.arange(batch)))
        jax.block_until_ready(estimate(params, rows, jax.random.key(0)))
        times = []
        for _ in range(3):
            start = time.perf_counter()
            jax.block_until_ready(estimate(params, rows, jax.random.key(1)))
            times.append(1e6 * (time.perf_counter() - start) / (10 * chunk * batch))
        results.append({"draws": chunk, "images": batch, "microseconds": min(times)})
        print(json.dumps(results[-1]), flush=True)
    return results


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(argv: list[str]) -> None:
    """Measures, prints and writes."""
    del argv
    family, params, test, about = _model()
    params = jax.tree.map(jnp.asarray, jax.device_get(params))
    samples, batch, chunk = _SAMPLES.value, _BATCH.value, _CHUNK.value
    result: dict[str, Any] = {**machine(), "model": about, "draws": samples, "chunk": chunk}
    result |= {"images": min(_EXAMPLES.value, test.size), "batch": batch}
    memory, start, processor = _peak_mib(), time.perf_counter(), time.process_time()
    context = EvaluationContext(family, params, test, batch_size=batch)
    value = importance_sampled(context, samples, examples=_EXAMPLES.value, chunk=chunk)
    result["seconds"] = time.perf_counter() - start
    result["processor_seconds"] = time.process_time() - processor
    result["grown_by_mib"], result["peak_mib"] = _peak_mib() - memory, _peak_mib()
    result["log_likelihood"] = value
    result["elbo"] = evaluator(family, test, make_mesh(1), batch_size=batch)(params, 0)["elbo"]

    indices, _ = next(eval_batches(test.size, _CHECKED))
    x = test.decode(test.take(indices))
    estimate = log_likelihood(family.model, samples, chunk)
    compiled = estimate.lower(params, x, jax.random.key(0)).compile()
    result["program_mib"] = compiled.memory_analysis().temp_size_in_bytes / 2**20
    key, _ = jax.random.split(key_of(0, Stream.LIKELIHOOD, jnp.uint32(0)))
    log_p = np.asarray(compiled(params, x, key), np.float64)
    latents = params["encoder"][f"Dense_{len(params['encoder']) - 1}"]["bias"].shape[0] // 2
    if _SEARCH.value:
        result["search"] = _search(family, params, test)

    start = time.perf_counter()
    noise = likelihood_noise(key, samples, (_CHECKED, latents))
    reference = numpy_log_likelihood(params, np.asarray(x["image"]), noise)
    difference = np.abs(log_p - reference)
    result["numpy"] = {
        "images": _CHECKED,
        "seconds": time.perf_counter() - start,
        "largest_difference": float(difference.max()),
        "difference_of_means": float(abs(log_p.mean() - reference.mean())),
    }
    print(json.dumps(result, indent=2))
    write_json(result_path(f"likelihood-{jax.default_backend()}.json"), result)
    if difference.max() > 1e-3:
        raise SystemExit(f"differs from NumPy by {difference.max():.2e} nats")


if __name__ == "__main__":
    app.run(main)
