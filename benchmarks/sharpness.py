"""Sharpness of images of a β-VAE and a VAE-GAN with the same encoder and decoder.

  python -m benchmarks.sharpness [--steps=6000]

Trains both on Fashion-MNIST for equally many steps on the same batches: VAE-GAN by its config, the
β-VAE with β = 1 and Adam at 1e-3. Sharpness is the mean gradient magnitude relative to the data
(`vaejax.evaluation.generation`), of 2,000 reconstructed test images and of equally many
samples. Writes `results/sharpness.json` and the figure `vae_gan.png`.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags

from vaejax.core.game import Family, Params
from vaejax.data import Source
from vaejax.data.preprocess import event_shape
from vaejax.evaluation.generation.sharpness import sharpness
from vaejax.experiment.build import build, load_split, training_settings
from vaejax.training import Trainer, fit
from vaejax.training.train_step import eval_params
from vaejax.visualization import plots

from .machine import machine
from .paths import config_of, figure_path, result_path, write_json

__all__ = ["main"]

_STEPS = flags.DEFINE_integer("steps", 6000, "Training steps of each model.")
_RESULT = flags.DEFINE_string("result", str(result_path("sharpness.json")), "JSON to write.")
_FIGURE = flags.DEFINE_string("figure", str(figure_path("vae_gan.png")), "Figure to write.")
_EXAMPLES, _SHOWN = 2000, 14


def _beta_vae_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a β-VAE with the encoder, decoder, data and batches of a VAE-GAN's config."""
    model = {k: config["model"][k] for k in ("latent_dim", "network", "likelihood")}
    vae = {"minimizes": {"nll": 1.0, "kl": 1.0}, "optimizer": "adam", "learning_rate": 1e-3}
    return {**config, "family": "beta_vae", "model": model, "players": {"vae": vae}}


def _train(config: Mapping[str, Any], source: Source, steps: int) -> tuple[Family, Params, float]:
    """A family, its parameters after training, and the seconds of training."""
    family = build(config, event_shape(source))
    settings, _ = training_settings({"train": {**config["train"], "steps": steps}})
    start = time.perf_counter()
    state = fit(Trainer(family, source, settings, seed=config["seed"]), settings).state
    return family, jax.block_until_ready(eval_params(state)), time.perf_counter() - start


def _images(family: Family, params: Params, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reconstructions at the posterior mean, and equally many samples."""

    @jax.jit
    def reconstruct_and_sample(
        params: Params, x: Any, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        (node,) = family.model.encode(params, {"image": x}, key)
        reconstruction = family.model.decode(params, (node.posterior.mean,), None).mean
        return reconstruction, family.model.generate(params, key, len(x), None, 1.0).mean

    reconstructions, samples = reconstruct_and_sample(params, data, jax.random.key(1))
    return np.asarray(reconstructions), np.asarray(samples)


def main(argv: list[str]) -> None:
    """Trains, measures, prints and writes."""
    del argv
    config = config_of("vae_gan:fashion_mnist")
    source, test = load_split(config, "train"), load_split(config, "eval")
    rows = test.take(np.linspace(0, test.size - 1, _EXAMPLES).astype(np.int32))
    data = np.asarray(test.decode(rows)["image"])
    pick = np.linspace(0, _EXAMPLES - 1, _SHOWN).astype(int)

    metrics: dict[str, Any] = {}
    rows_of_images = {"data": data[pick]}
    rows_of_samples = {}
    for name, model_config in (("β-VAE", _beta_vae_config(config)), ("VAE-GAN", config)):
        family, params, seconds = _train(model_config, source, _STEPS.value)
        reconstructions, samples = _images(family, params, data)
        metrics[name] = {
            "sharpness_reconstructions": sharpness(reconstructions, data),
            "sharpness_samples": sharpness(samples, data),
            "mse": float(np.square(reconstructions - data).mean()),
            "seconds": seconds,
        }
        print(name, json.dumps(metrics[name]), flush=True)
        label = f"{name}\nsharpness {metrics[name]['sharpness_reconstructions']:.2f}"
        rows_of_images[label] = reconstructions[pick]
        label = f"{name} sample\nsharpness {metrics[name]['sharpness_samples']:.2f}"
        rows_of_samples[label] = samples[:_SHOWN]

    figure, result = Path(_FIGURE.value), Path(_RESULT.value)
    figure.parent.mkdir(parents=True, exist_ok=True)
    rows_of_images |= rows_of_samples
    plots.save_grid(
        figure,
        np.concatenate(list(rows_of_images.values())),
        _SHOWN,
        title=f"Reconstructions and samples after {_STEPS.value:,} steps",
        row_labels=list(rows_of_images),
    )
    record = {**machine(), "steps": _STEPS.value}
    record |= {"data": config["data"]["source"], "examples": _EXAMPLES, "figures": metrics}
    write_json(result, record, ensure_ascii=False)
    print(f"Wrote {result} and {figure}")


if __name__ == "__main__":
    app.run(main)
