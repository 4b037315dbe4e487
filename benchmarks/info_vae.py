"""InfoVAE against a plain VAE: distance of q(z) to the prior, active units, ELBO, at equal steps.

  python -m benchmarks.info_vae [--steps=1500] [--source=tfds:mnist]

Trains the family `info_vae` with α = 0 and several λ from the same parameters on the same batches;
with weight 0 on `mmd` it is the plain VAE. The networks are dense; the other settings are those of
`mnist` in `configs/info_vae.py` (so the RBF kernel is minimised) at a learning rate of 1e-3.
Squared MMD is the unbiased estimate between sampled z of the whole test split and equally many
samples of the prior; its standard error is that over `_REPEATS` samples of both. Writes
`results/info_vae.json`.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from vaejax.core.game import Family, Params
from vaejax.core.sharding import make_mesh
from vaejax.data import Source
from vaejax.data.preprocess import event_shape, preparation
from vaejax.evaluation.evaluate import evaluator
from vaejax.experiment.build import build, load_split, training_settings
from vaejax.losses import squared_mmd
from vaejax.training import Trainer, fit
from vaejax.training.train_step import eval_params

from .machine import machine
from .paths import config_of, result_path, write_json

__all__ = ["main"]

_STEPS = flags.DEFINE_integer("steps", 1500, "Training steps of each model.")
_SOURCE = flags.DEFINE_string("source", "", "Data; default MNIST if it is prepared, else sprites.")
_RESULT = flags.DEFINE_string("result", str(result_path("info_vae.json")), "JSON to write.")
_MODELS = {  # λ and the estimator of MMD
    "VAE": (0.0, "biased"),
    "InfoVAE, λ = 50": (50.0, "biased"),
    "InfoVAE, λ = 1000": (1000.0, "biased"),
    "InfoVAE, λ = 1000, unbiased": (1000.0, "unbiased"),
}
_REPEATS = 8
_KERNELS: dict[str, dict[str, Any]] = {
    "rbf": {"kernel": "rbf"},
    "imq": {"kernel": "imq", "scales": (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)},
}


def _config(source: str, lam: float, estimator: str) -> dict[str, Any]:
    """The setting `mnist` with dense networks and this λ; the plain VAE if λ = 0."""
    config = config_of("info_vae:mnist")
    config["data"]["source"] = source
    config["model"]["network"] = {"kind": "mlp", "hidden": (512, 256)}
    config["model"]["mmd"]["estimator"] = estimator
    vae = config["players"]["vae"]
    vae["minimizes"] = {"nll": 1.0, "kl": 1.0} | ({"mmd": lam - 1.0} if lam else {})
    vae["learning_rate"] = 1e-3
    return config


def _splits(source: str) -> tuple[str, Source, Source]:
    """The name of the data and its two splits."""
    for name in [source] if source else ["tfds:mnist", "sprites:small"]:
        config = _config(name, *_MODELS["VAE"])
        try:
            return name, load_split(config, "train"), load_split(config, "eval")
        except (FileNotFoundError, ImportError):
            if source:
                raise
    raise AssertionError("the sprites are always available")


def _distances(
    family: Family, params: Params, source: Source, binarize: str
) -> dict[str, dict[str, float]]:
    """Squared MMD of the aggregate posterior to the prior and its standard error, by kernel."""
    prepare = preparation(source, binarize)
    rows = source.take(np.arange(source.size))

    @jax.jit
    def estimate(params: Params, rows: Any, key: jax.Array) -> dict[str, jax.Array]:
        data_key, z_key, prior_key = jax.random.split(key, 3)
        (node,) = family.model.encode(params, prepare(rows, data_key), z_key)
        prior_sample = node.prior.sample(prior_key)
        return {
            name: squared_mmd(node.z, prior_sample, estimator="unbiased", **kernel)
            for name, kernel in _KERNELS.items()
        }

    estimates = [estimate(params, rows, jax.random.key(i)) for i in range(_REPEATS)]
    table = jax.tree.map(lambda *a: np.asarray(jnp.stack(a), np.float64), *estimates)
    return {
        name: {"mmd": float(v.mean()), "standard_error": float(v.std(ddof=1) / _REPEATS**0.5)}
        for name, v in table.items()
    }


def _measure(config: Mapping[str, Any], train: Source, test: Source, steps: int) -> dict[str, Any]:
    """Trains one model and evaluates it on the test split."""
    family = build(config, event_shape(train))
    settings, _ = training_settings({"train": {**config["train"], "steps": steps}})
    options = {"seed": config["seed"], "binarize": config["data"]["binarize"]}
    start = time.perf_counter()
    state = fit(Trainer(family, train, settings, **options), settings).state
    params = jax.block_until_ready(eval_params(state))
    seconds = time.perf_counter() - start
    evaluate = evaluator(family, test, make_mesh(), batch_size=settings.batch_size, **options)
    metrics = evaluate(params, steps)
    return {
        "minimizes": config["players"]["vae"]["minimizes"],
        "estimator": config["model"]["mmd"]["estimator"],
        "squared_mmd": _distances(family, params, test, options["binarize"]),
        **{name: metrics[name] for name in ("active_units", "elbo", "nll", "kl")},
        "seconds": round(seconds, 1),
    }


def main(argv: list[str]) -> None:
    """Trains, measures, prints and writes."""
    del argv
    name, train, test = _splits(_SOURCE.value)
    models = {}
    for title, (lam, estimator) in _MODELS.items():
        config = _config(name, lam, estimator)
        models[title] = row = _measure(config, train, test, _STEPS.value)
        mmd = ", ".join(
            f"{k} {v['mmd']:.2e} ± {v['standard_error']:.0e}" for k, v in row["squared_mmd"].items()
        )
        print(
            f"{title}: MMD² {mmd}; {row['active_units']:.0f} active units, "
            f"ELBO {row['elbo']:.2f}, {row['seconds']} s",
            flush=True,
        )
    record = {**machine(), "source": name, "steps": _STEPS.value, "models": models}
    path = Path(_RESULT.value)
    write_json(path, record, ensure_ascii=False)
    print(f"Wrote {path}.")


if __name__ == "__main__":
    app.run(main)
