"""InfoVAE beside a plain VAE: distance of q(z) to the prior, active units, ELBO, at equal steps.

  python -m benchmarks.info_vae [--steps=1500] [--source=tfds:mnist]

Trains the family `info_vae` with α = 0 and several λ from the same parameters on the same batches;
with no weight on `mmd` it is the plain VAE. The networks are dense, the rest is the setting `mnist`
of `configs/info_vae.py` at a learning rate of 1e-3, so it is the RBF kernel that is minimised.
Squared MMD is the unbiased estimate between sampled z of the whole test split and as many draws
from the prior; its standard error is that over `_DRAWS` draws of both.
Writes `results/info_vae.json`.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks.machine import machine
from configs import info_vae
from vaejax.core.game import Family, Params
from vaejax.core.registry import call
from vaejax.core.sharding import make_mesh
from vaejax.data import Source
from vaejax.data.preprocess import event_shape, preparation
from vaejax.evaluation.evaluate import evaluator
from vaejax.experiment import run
from vaejax.losses import squared_mmd
from vaejax.training import Settings, Trainer, fit
from vaejax.training.train_step import eval_params

_STEPS = flags.DEFINE_integer("steps", 1500, "Training steps of each model.")
_SOURCE = flags.DEFINE_string("source", "", "Data; MNIST where it is there, or else sprites.")
_RESULT = flags.DEFINE_string("result", "benchmarks/results/info_vae.json", "JSON to write.")
_MODELS = {  # λ and the estimator
    "VAE": (0.0, "biased"),
    "InfoVAE, λ = 50": (50.0, "biased"),
    "InfoVAE, λ = 1000": (1000.0, "biased"),
    "InfoVAE, λ = 1000, unbiased": (1000.0, "unbiased"),
}
_DRAWS = 8
_KERNELS: dict[str, dict[str, Any]] = {
    "rbf": {"kernel": "rbf"},
    "imq": {"kernel": "imq", "scales": (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)},
}


def config_of(source: str, lam: float, estimator: str) -> dict[str, Any]:
    """The setting `mnist` with dense networks, at this λ; the plain VAE at λ = 0."""
    config = json.loads(info_vae.get_config("mnist").to_json())
    config["data"]["source"] = source
    config["model"]["network"] = {"kind": "mlp", "hidden": (512, 256)}
    config["model"]["mmd"]["estimator"] = estimator
    vae = config["players"]["vae"]
    vae["minimizes"] = {"nll": 1.0, "kl": 1.0} | ({"mmd": lam - 1.0} if lam else {})
    vae["learning_rate"] = 1e-3
    return config


def splits(source: str) -> tuple[str, Source, Source]:
    """The name of the data and its two splits."""
    for name in [source] if source else ["tfds:mnist", "sprites:small"]:
        config = config_of(name, *_MODELS["VAE"])
        try:
            return name, run.load_split(config, "train"), run.load_split(config, "eval")
        except (FileNotFoundError, ImportError):
            if source:
                raise
    raise AssertionError("the sprites are always there")


def distances(
    family: Family, params: Params, source: Source, binarize: str
) -> dict[str, dict[str, float]]:
    """Kernel -> squared MMD of the aggregate posterior and the prior, and its standard error."""
    prepare = preparation(source, binarize)
    rows = source.take(np.arange(source.size))

    @jax.jit
    def one(params: Params, rows: Any, key: jax.Array) -> dict[str, jax.Array]:
        data_key, z_key, prior_key = jax.random.split(key, 3)
        (node,) = family.model.encode(params, prepare(rows, data_key), z_key)
        draw = node.prior.sample(prior_key)
        return {
            name: squared_mmd(node.z, draw, estimator="unbiased", **kernel)
            for name, kernel in _KERNELS.items()
        }

    draws = [one(params, rows, jax.random.key(i)) for i in range(_DRAWS)]
    table = jax.tree.map(lambda *a: np.asarray(jnp.stack(a), np.float64), *draws)
    return {
        name: {"mmd": float(v.mean()), "standard_error": float(v.std(ddof=1) / _DRAWS**0.5)}
        for name, v in table.items()
    }


def measure(config: Mapping[str, Any], train: Source, test: Source, steps: int) -> dict[str, Any]:
    """Trains one model and looks at it on the test split."""
    family = run.build(config, event_shape(train))
    fields = {k: v for k, v in config["train"].items() if k != "eval_examples"}
    settings: Settings = call(Settings, "train", **{**fields, "steps": steps})
    options = {"seed": config["seed"], "binarize": config["data"]["binarize"]}
    began = time.perf_counter()
    state = fit(Trainer(family, train, settings, **options), settings).state
    params = jax.block_until_ready(eval_params(state))
    seconds = time.perf_counter() - began
    judge = evaluator(family, test, make_mesh(), batch_size=settings.batch_size, **options)
    judged = judge(params, steps)
    return {
        "minimizes": config["players"]["vae"]["minimizes"],
        "estimator": config["model"]["mmd"]["estimator"],
        "squared_mmd": distances(family, params, test, options["binarize"]),
        **{name: judged[name] for name in ("active_units", "elbo", "nll", "kl")},
        "seconds": round(seconds, 1),
    }


def main(argv: list[str]) -> None:
    """Trains, measures, prints, writes."""
    del argv
    name, train, test = splits(_SOURCE.value)
    models = {}
    for title, (lam, estimator) in _MODELS.items():
        config = config_of(name, lam, estimator)
        models[title] = found = measure(config, train, test, _STEPS.value)
        mmd = ", ".join(
            f"{k} {v['mmd']:.2e} ± {v['standard_error']:.0e}"
            for k, v in found["squared_mmd"].items()
        )
        print(
            f"{title}: MMD² {mmd}; {found['active_units']:.0f} active units, "
            f"ELBO {found['elbo']:.2f}, {found['seconds']} s",
            flush=True,
        )
    record = {**machine(), "source": name, "steps": _STEPS.value, "models": models}
    path = Path(_RESULT.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    print(f"Wrote {path}.")


if __name__ == "__main__":
    app.run(main)
