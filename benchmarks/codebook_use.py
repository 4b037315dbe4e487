"""How much of a codebook is used: gradient, moving averages, revival, rotation, SimVQ, FSQ, LFQ.

  python -m benchmarks.codebook_use [--codes=4096] [--steps=2000] [--only=NAME,...]

Trains one model of Fashion-MNIST for each way to learn (about) equally many codes, with the same
networks, batches and number of steps. Plain codebooks share a small random start (±1/K, as in the
code of 1711.00937); SimVQ starts from its own, FSQ and LFQ have none. Reports, of the test split as
a whole: the share of codes that any token chose, the perplexity of their use, and the mean squared
error. Writes `results/codebook_use.json` (runs named by `--only` are added to what is there) and a
picture of the sorted use of codes.
"""

import json
import math
import subprocess
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags

from configs import vqvae
from vaejax.core.game import losses_and_trace
from vaejax.core.registry import call
from vaejax.data import Source
from vaejax.data.batches import eval_batches
from vaejax.data.preprocess import event_shape
from vaejax.experiment import run
from vaejax.losses.metrics import code_counts, perplexity
from vaejax.training import Settings, Trainer, fit
from vaejax.training.train_step import eval_params
from vaejax.visualization.plots import grids_and_curves

_CODES = flags.DEFINE_integer("codes", 4096, "Codes, of FSQ the nearest that the paper suggests.")
_STEPS = flags.DEFINE_integer("steps", 2000, "Training steps of each model.")
_ONLY = flags.DEFINE_list("only", [], "Names of the runs to make; all if none is given.")
_SOURCE = flags.DEFINE_string("source", "tfds:fashion_mnist", "Data.")
_RESULT = flags.DEFINE_string("result", "benchmarks/results/codebook_use.json", "JSON to write.")
_FIGURE = flags.DEFINE_string("figure", "docs/figures/codebook_use.png", "Picture to write.")

_LEVELS = {256: (8, 6, 5), 1024: (8, 5, 5, 5), 4096: (7, 5, 5, 5, 5), 16384: (8, 8, 8, 6, 5)}
ADAM = {"minimizes": {"vq": 1.0}, "optimizer": "adam", "learning_rate": 1e-3}
EMA = {"minimizes": {"vq": 1.0}, "optimizer": "ema_codebook", "decay": 0.99}
VQ = {"nll": 1.0, "vq": 0.25}


def table(codes: int) -> dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, float]]]:
    """Name -> (quantizer, the codebook's player or {}, what the encoder and decoder minimise)."""
    vector = {"kind": "vector", "codes": codes, "dim": 64, "start": "uniform"}
    rotated = {**vector, "gradient": "rotation"}
    levels = _LEVELS.get(codes, (2 ** max(2, round(math.log2(codes) / 4)),) * 4)
    bits = round(math.log2(codes))
    entropies = {"nll": 1.0, "vq": 0.25, "token_entropy": 0.1, "usage_entropy": -0.1}
    return {
        "gradient": (vector, ADAM, VQ),
        "moving averages": (vector, EMA, VQ),
        "moving averages, revival": (vector, {**EMA, "revive_below": 0.03}, VQ),
        "moving averages, rotation": (rotated, EMA, VQ),
        "SimVQ": ({"kind": "sim_vq", "codes": codes, "dim": 64}, ADAM, VQ),
        "FSQ": ({"kind": "finite_scalar", "levels": levels}, {}, {"nll": 1.0}),
        "LFQ": ({"kind": "lookup_free", "bits": bits}, {}, entropies),
    }


def measure(name: str, train: Source, test: Source, steps: int, codes: int) -> dict[str, Any]:
    """Trains one model and counts the codes of the test split."""
    quantizer, codebook, minimizes = table(codes)[name]
    config = json.loads(vqvae.get_config("fashion_mnist").to_json())
    config["model"]["quantizer"] = quantizer
    if name == "LFQ":
        config["model"]["entropies"] = {}
    config["players"]["vae"]["minimizes"] = minimizes
    del config["players"]["codebook"]
    if codebook:
        config["players"]["codebook"] = codebook
    family = run.build(config, event_shape(train))
    fields = {k: v for k, v in config["train"].items() if k != "eval_examples"}
    settings: Settings = call(Settings, "train", **{**fields, "steps": steps})
    began = time.perf_counter()
    state = fit(Trainer(family, train, settings, seed=config["seed"]), settings).state
    params = jax.block_until_ready(eval_params(state))
    seconds = time.perf_counter() - began

    losses_fn = losses_and_trace(family, training=False)

    @jax.jit
    def look(params: Any, rows: Any, mask: Any) -> tuple[jax.Array, jax.Array]:
        _, trace = losses_fn(params, test.decode(rows), jax.random.key(0), np.int32(steps))
        squares = (trace.likelihood.mean - trace.x) ** 2 * mask[:, None, None, None]
        return code_counts(trace, mask)[0], squares.sum(axis=(1, 2, 3)).sum()

    counts, squares = 0.0, 0.0
    for indices, mask in eval_batches(test.size, settings.batch_size):
        count, error = look(params, test.take(indices), mask.astype(np.float32))
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
    """Trains, counts, prints, writes."""
    del argv
    path, runs = Path(_RESULT.value), {}
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    record = {"source": _SOURCE.value, "steps": _STEPS.value, "codes": _CODES.value}
    record |= {"device": jax.devices()[0].device_kind, "commit": commit}
    if _ONLY.value and path.exists():
        runs = json.loads(path.read_text())["runs"]
    config = json.loads(vqvae.get_config("fashion_mnist").to_json())
    config["data"]["source"] = _SOURCE.value
    train, test = run.load_split(config, "train"), run.load_split(config, "eval")
    for name in _ONLY.value or table(_CODES.value):
        found = runs[name] = measure(name, train, test, _STEPS.value, _CODES.value)
        print(
            f"{name}: {100 * found['codes_used']:.1f} % of {found['codes']} codes, perplexity "
            f"{found['perplexity']:.0f}, MSE {found['mse']:.5f}, {found['seconds']} s",
            flush=True,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**record, "runs": runs}, ensure_ascii=False) + "\n")
    use = {name: np.asarray(found["use"]) for name, found in runs.items()}
    grids_and_curves.code_usage(Path(_FIGURE.value), use)
    print(f"Wrote {path} and {_FIGURE.value}.")


if __name__ == "__main__":
    app.run(main)
