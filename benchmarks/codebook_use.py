"""Codebook usage of gradient descent, EMA, revival, rotation, SimVQ, FSQ and LFQ.

  python -m benchmarks.codebook_use [--codes=4096] [--steps=2000] [--only=NAME,...]

Trains one model of Fashion-MNIST per method with (about) equally many codes and the same networks,
batches and number of steps. Plain codebooks start from the same small random values (±1/K, as in
the code of 1711.00937); SimVQ has its own initialisation, FSQ and LFQ have no codebook. Reports, on
the whole test split: the fraction of codes that any token uses, the perplexity of their usage, and
the mean squared error. Writes `results/codebook_use.json` (runs named by `--only` are added to
those in the file) and a figure of the sorted code usage.
"""

import json
import math
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags

from vaejax.core.game import losses_and_trace
from vaejax.data import Source
from vaejax.data.batches import eval_batches
from vaejax.data.preprocess import event_shape
from vaejax.experiment.build import build, load_split, training_settings
from vaejax.losses.metrics import code_counts, perplexity
from vaejax.training import Trainer, fit
from vaejax.training.train_step import eval_params
from vaejax.visualization import plots

from .machine import commit
from .paths import config_of, figure_path, result_path, write_json

__all__ = ["main"]

_CODES = flags.DEFINE_integer("codes", 4096, "Codes; for FSQ the nearest number of the paper.")
_STEPS = flags.DEFINE_integer("steps", 2000, "Training steps of each model.")
_ONLY = flags.DEFINE_list("only", [], "Names of the methods; default all.")
_SOURCE = flags.DEFINE_string("source", "tfds:fashion_mnist", "Data.")
_RESULT = flags.DEFINE_string("result", str(result_path("codebook_use.json")), "JSON to write.")
_FIGURE = flags.DEFINE_string("figure", str(figure_path("codebook_use.png")), "Figure to write.")

_LEVELS = {256: (8, 6, 5), 1024: (8, 5, 5, 5), 4096: (7, 5, 5, 5, 5), 16384: (8, 8, 8, 6, 5)}
_ADAM = {"minimizes": {"vq": 1.0}, "optimizer": "adam", "learning_rate": 1e-3}
_EMA = {"minimizes": {"vq": 1.0}, "optimizer": "ema_codebook", "decay": 0.99}
_VQ = {"nll": 1.0, "vq": 0.25}


def _methods(codes: int) -> dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, float]]]:
    """Name -> (quantizer, codebook player or {}, losses that encoder and decoder minimise)."""
    vector = {"kind": "vector", "codes": codes, "dim": 64, "start": "uniform"}
    rotated = {**vector, "gradient": "rotation"}
    levels = _LEVELS.get(codes, (2 ** max(2, round(math.log2(codes) / 4)),) * 4)
    bits = round(math.log2(codes))
    entropies = {"nll": 1.0, "vq": 0.25, "token_entropy": 0.1, "usage_entropy": -0.1}
    return {
        "gradient": (vector, _ADAM, _VQ),
        "moving averages": (vector, _EMA, _VQ),
        "moving averages, revival": (vector, {**_EMA, "revive_below": 0.03}, _VQ),
        "moving averages, rotation": (rotated, _EMA, _VQ),
        "SimVQ": ({"kind": "sim_vq", "codes": codes, "dim": 64}, _ADAM, _VQ),
        "FSQ": ({"kind": "finite_scalar", "levels": levels}, {}, {"nll": 1.0}),
        "LFQ": ({"kind": "lookup_free", "bits": bits}, {}, entropies),
    }


def _measure(name: str, train: Source, test: Source, steps: int, codes: int) -> dict[str, Any]:
    """Trains one model and counts the codes of the test split."""
    quantizer, codebook, minimizes = _methods(codes)[name]
    config = config_of("vqvae:fashion_mnist")
    config["model"]["quantizer"] = quantizer
    if name == "LFQ":
        config["model"]["entropies"] = {}
    config["players"]["vae"]["minimizes"] = minimizes
    del config["players"]["codebook"]
    if codebook:
        config["players"]["codebook"] = codebook
    config["train"]["steps"] = steps
    family = build(config, event_shape(train))
    settings, _ = training_settings(config)
    start = time.perf_counter()
    state = fit(Trainer(family, train, settings, seed=config["seed"]), settings).state
    params = jax.block_until_ready(eval_params(state))
    seconds = time.perf_counter() - start

    losses_fn = losses_and_trace(family, training=False)

    @jax.jit
    def counts_and_errors(params: Any, rows: Any, mask: Any) -> tuple[jax.Array, jax.Array]:
        _, trace = losses_fn(params, test.decode(rows), jax.random.key(0), np.int32(steps))
        squares = (trace.likelihood.mean - trace.x) ** 2 * mask[:, None, None, None]
        return code_counts(trace, mask)[0], squares.sum(axis=(1, 2, 3)).sum()

    counts, squares = 0.0, 0.0
    for indices, mask in eval_batches(test.size, settings.batch_size):
        count, error = counts_and_errors(params, test.take(indices), mask.astype(np.float32))
        counts, squares = counts + np.asarray(count, np.float64), squares + float(error)
    return {
        "codes": int(np.asarray(counts).size),
        "codes_used": float((np.asarray(counts) > 0).mean()),
        "perplexity": float(perplexity(jax.numpy.asarray(counts, np.float32))),
        "mse": squares / test.size / math.prod(event_shape(test)),
        "seconds": round(seconds, 1),
        "use": np.sort(np.asarray(counts)[0])[::-1].astype(int).tolist(),
    }


def main(argv: list[str]) -> None:
    """Trains, counts, prints and writes."""
    del argv
    path, runs = Path(_RESULT.value), {}
    record = {"source": _SOURCE.value, "steps": _STEPS.value, "codes": _CODES.value}
    record |= {"device": jax.devices()[0].device_kind, "commit": commit()}
    if _ONLY.value and path.exists():
        runs = json.loads(path.read_text())["runs"]
    config = config_of("vqvae:fashion_mnist")
    config["data"]["source"] = _SOURCE.value
    train, test = load_split(config, "train"), load_split(config, "eval")
    for name in _ONLY.value or _methods(_CODES.value):
        row = runs[name] = _measure(name, train, test, _STEPS.value, _CODES.value)
        print(
            f"{name}: {100 * row['codes_used']:.1f} % of {row['codes']} codes, perplexity "
            f"{row['perplexity']:.0f}, MSE {row['mse']:.5f}, {row['seconds']} s",
            flush=True,
        )
        write_json(path, {**record, "runs": runs}, indent=None, ensure_ascii=False)
    usage = {name: np.asarray(row["use"]) for name, row in runs.items()}
    plots.code_usage(Path(_FIGURE.value), usage)
    print(f"Wrote {path} and {_FIGURE.value}.")


if __name__ == "__main__":
    app.run(main)
