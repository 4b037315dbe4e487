"""How sharp β-VAE's and VAE-GAN's images are, with the same encoder and decoder.

  python -m benchmarks.sharpness [--steps=6000]

Trains both on Fashion-MNIST for equally many steps on the same batches: VAE-GAN by its config, the
β-VAE at β = 1 by Adam at 1e-3. Sharpness is the mean gradient magnitude over that of the data
(`vaejax.evaluation.sharpness`), of 2,000 reconstructed test images and of as many samples. Writes
`results/sharpness.json` and `docs/figures/vae_gan.png`.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags

from benchmarks.machine import machine
from configs import vae_gan
from vaejax.core.game import Family, Params
from vaejax.core.registry import call
from vaejax.data import Source
from vaejax.data.preprocess import event_shape
from vaejax.evaluation.generation.sharpness import sharpness
from vaejax.experiment import run
from vaejax.training import Settings, Trainer, fit
from vaejax.training.train_step import eval_params
from vaejax.visualization.plots import grids_and_curves

_ROOT = Path(__file__).parent.parent
_STEPS = flags.DEFINE_integer("steps", 6000, "Training steps of each model.")
_RESULT = flags.DEFINE_string("result", "benchmarks/results/sharpness.json", "JSON to write.")
_FIGURE = flags.DEFINE_string("figure", "docs/figures/vae_gan.png", "Picture to write.")
_EXAMPLES, _SHOWN = 2000, 14


def beta_vae_beside(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a β-VAE with the encoder, decoder, data and batches of a VAE-GAN's."""
    model = {k: config["model"][k] for k in ("latent_dim", "network", "likelihood")}
    vae = {"minimizes": {"nll": 1.0, "kl": 1.0}, "optimizer": "adam", "learning_rate": 1e-3}
    return {**config, "family": "beta_vae", "model": model, "players": {"vae": vae}}


def trained(config: Mapping[str, Any], source: Source, steps: int) -> tuple[Family, Params, float]:
    """A family trained for some steps, its parameters, and the seconds that took."""
    family = run.build(config, event_shape(source))
    train = {k: v for k, v in config["train"].items() if k != "eval_examples"}
    settings = call(Settings, "train", **{**train, "steps": steps})
    began = time.perf_counter()
    state = fit(Trainer(family, source, settings, seed=config["seed"]), settings).state
    return family, jax.block_until_ready(eval_params(state)), time.perf_counter() - began


def images(family: Family, params: Params, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reconstructions at the posterior's mean, and as many samples."""

    @jax.jit
    def look(params: Params, x: Any, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        (node,) = family.model.encode(params, {"image": x}, key)
        again = family.model.decode(params, (node.posterior.mean,), None).mean
        return again, family.model.generate(params, key, len(x), None, 1.0).mean

    again, samples = look(params, data, jax.random.key(1))
    return np.asarray(again), np.asarray(samples)


def main(argv: list[str]) -> None:
    """Trains, measures, prints, writes."""
    del argv
    config = json.loads(vae_gan.get_config("fashion_mnist").to_json())
    source, test = run.load_split(config, "train"), run.load_split(config, "eval")
    rows = test.take(np.linspace(0, test.size - 1, _EXAMPLES).astype(np.int32))
    data = np.asarray(test.decode(rows)["image"])
    pick = np.linspace(0, _EXAMPLES - 1, _SHOWN).astype(int)

    figures: dict[str, Any] = {}
    shown = {"data": data[pick]}
    sampled = {}
    for name, settings in (("β-VAE", beta_vae_beside(config)), ("VAE-GAN", config)):
        family, params, seconds = trained(settings, source, _STEPS.value)
        again, samples = images(family, params, data)
        figures[name] = {
            "sharpness_reconstructions": sharpness(again, data),
            "sharpness_samples": sharpness(samples, data),
            "mse": float(np.square(again - data).mean()),
            "seconds": seconds,
        }
        print(name, json.dumps(figures[name]), flush=True)
        shown[f"{name}\nsharpness {figures[name]['sharpness_reconstructions']:.2f}"] = again[pick]
        label = f"{name} sample\nsharpness {figures[name]['sharpness_samples']:.2f}"
        sampled[label] = samples[:_SHOWN]

    figure, result = _ROOT / _FIGURE.value, _ROOT / _RESULT.value
    for path in (figure, result):
        path.parent.mkdir(parents=True, exist_ok=True)
    shown |= sampled
    grids_and_curves.save_grid(
        figure,
        np.concatenate(list(shown.values())),
        _SHOWN,
        title=f"Reconstructions and samples after {_STEPS.value:,} steps",
        row_labels=list(shown),
    )
    record = {**machine(), "steps": _STEPS.value}
    record |= {"data": config["data"]["source"], "examples": _EXAMPLES, "figures": figures}
    result.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    print(f"Wrote {result} and {figure}")


if __name__ == "__main__":
    app.run(main)
