"""What goes wrong with first stages: early discriminators, dead codes, the scale of the latents.

  python -m benchmarks.first_stage_curves --source=npz:cifar10_4000.npz [--only=PANEL,...]

Trains small networks on images of 16 × 16 pixels, a few hundred steps each, and measures 256
held-out images every 25 steps: PSNR, the perplexity of codes, the standard deviation of latents.
Writes `results/first_stage_curves.json`, to which the panels named by `--only` are added, and a
figure.
"""

import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags

from vaejax.core.game import losses_and_trace
from vaejax.data.preprocess import event_shape
from vaejax.evaluation.signal_quality import psnr
from vaejax.experiment.build import build, load_split, training_settings
from vaejax.losses.metrics import code_counts, perplexity
from vaejax.training import Trainer
from vaejax.training.train_step import eval_params
from vaejax.visualization.plots.style import COLOURS, INK, MUTED, load_pyplot, save

from .machine import machine
from .paths import config_of, figure_path, result_path, write_json

__all__ = ["draw", "main", "panels"]

_SOURCE = flags.DEFINE_string("source", "sprites:small", "Images.")
_STEPS = flags.DEFINE_integer("curve_steps", 400, "Training steps of each model.")
_ONLY = flags.DEFINE_list("only", [], "Panels; default all.")
_RESULT = flags.DEFINE_string("result", str(result_path("first_stage_curves.json")), "To write.")
_FIGURE = flags.DEFINE_string("figure", str(figure_path("first_stage_curves.png")), "To write.")

_EVERY, _IMAGES, _LATE = 25, 256, 200
_UNITS = {"psnr": "PSNR, dB", "perplexity": "perplexity of codes", "deviation": "deviation of z"}
_Config = dict[str, Any]


def _small(name: str) -> _Config:
    """A config of little computation, without the perceptual loss."""
    config = config_of(name)
    del config["model"]["perceptual"], config["players"]["vae"]["minimizes"]["perceptual"]
    config["data"]["image_size"] = 16
    config["model"]["network"] |= {"hidden": 32, "downsamplings": 2}
    config["train"] |= {"batch_size": 16, "log_every": _EVERY, "checkpoint_every": 0}
    return config


def _adversarial(begin: int, fixed: float = 0.0) -> _Config:
    """A KL autoencoder with a discriminator from a step on, of an adaptive or a fixed weight."""
    config = _small("autoencoder_kl:f4")
    config["model"]["discriminator"] |= {"channels": 32}
    minimizes = config["players"]["vae"]["minimizes"]
    for row in (
        minimizes["generator_balanced"],
        config["players"]["discriminator"]["minimizes"]["gan"],
    ):
        row["begin"] = begin
    if fixed:
        config["model"]["adversarial"]["adaptive"] = False
        del minimizes["generator_balanced"]
        minimizes["generator"] = {"kind": "delayed", "value": fixed, "begin": begin}
    return config


def _plain(config: _Config) -> _Config:
    """Without a discriminator."""
    del (
        config["players"]["discriminator"],
        config["players"]["vae"]["minimizes"]["generator_balanced"],
    )
    for name in ("discriminator", "adversarial"):
        del config["model"][name]
    return config


def _codes(setting: str, codebook: _Config | None = None, **quantizer: Any) -> _Config:
    config = _plain(_small(f"vqgan:{setting}"))
    config["model"]["quantizer"] |= quantizer
    if codebook is not None:
        config["players"]["codebook"] = {"minimizes": {"vq": 1.0}, **codebook}
    return config


def _kl(weight: float) -> _Config:
    config = _plain(_small("autoencoder_kl:f4"))
    config["players"]["vae"]["minimizes"]["kl"] = weight
    return config


def panels(steps: int) -> dict[str, tuple[str, dict[str, _Config]]]:
    """Title -> (measured number, label -> config)."""
    ema = {"optimizer": "ema_codebook", "decay": 0.99}
    return {
        "Start of the discriminator": ("psnr", {
            "never": _kl(1e-6),
            "at step 0, adaptive weight": _adversarial(0),
            f"at step {_LATE}, fixed weight": _adversarial(_LATE, 500.0),
            "at step 0, fixed weight": _adversarial(0, 500.0),
        }),
        "Dead codes": ("perplexity", {
            "gradient": _codes("vector", {"optimizer": "adam", "learning_rate": 1e-3},
                               start="uniform"),
            "moving averages": _codes("vector", ema, start="uniform"),
            "fsq": _codes("fsq", levels=(8, 8, 8)),
        }),
        "Scale of the latents": ("deviation", {
            "KL weight 1e-6": _kl(1e-6), "KL weight 0.01": _kl(1e-2), "KL weight 1": _kl(1.0),
        }),
    }  # fmt: skip


def _measure(number: str, config: _Config, steps: int) -> dict[str, Any]:
    """Trains one model: the steps, and a number of the held-out images after each of them."""
    config["data"]["source"] = _SOURCE.value
    config["train"]["steps"] = steps
    train, test = load_split(config, "train"), load_split(config, "eval")
    family = build(config, event_shape(train))
    settings, _ = training_settings(config)
    trainer = Trainer(family, train, settings, seed=0)
    batch = test.decode(test.take(np.arange(min(_IMAGES, test.size))))
    forward = losses_and_trace(family, training=False)

    @jax.jit
    def measured(params: Any) -> jax.Array:
        _, trace = forward(params, batch, jax.random.key(0), np.int32(steps))
        if number == "psnr":
            return psnr(trace.x, trace.likelihood.mean).mean()
        if number == "perplexity":
            return perplexity(code_counts(trace, np.ones(len(trace.x), np.float32))[0])
        return trace.latents[0].posterior.mean.std()

    start, state, values = time.perf_counter(), trainer.init(), []
    for span, batches in trainer.loader.batches(list(settings.spans(0))):
        state, _ = trainer.dispatch(state, span, batches)
        if span[1] % _EVERY == 0:
            values.append((span[1], float(measured(eval_params(state)))))
    seconds = round(time.perf_counter() - start, 1)
    return {"steps": [s for s, _ in values], "values": [v for _, v in values], "seconds": seconds}


def draw(path: Path, record: dict[str, Any]) -> None:
    """One panel for each of the record's."""
    pyplot = load_pyplot()
    shown = record["panels"]
    figure, axes = pyplot.subplots(
        1, len(shown), figsize=(3.6 * len(shown), 2.8), squeeze=False, layout="constrained"
    )
    for axis, (title, panel) in zip(axes[0], shown.items(), strict=True):
        for (label, run), colour in zip(panel["runs"].items(), COLOURS, strict=False):
            axis.plot(run["steps"], run["values"], lw=1.4, color=colour, label=label)
        axis.set_title(title, fontsize=9, color=INK, loc="left")
        axis.set_ylabel(_UNITS[panel["number"]], fontsize=8, color=MUTED)
        axis.set_xlabel("step", fontsize=8, color=MUTED)
        axis.tick_params(labelsize=7, colors=MUTED)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(fontsize=7, frameon=False)
        if panel["number"] == "perplexity":
            axis.set_yscale("log")
    save(figure, path, dpi=120)
    pyplot.close(figure)


def main(argv: list[str]) -> None:
    """Trains, prints, writes."""
    del argv
    path = Path(_RESULT.value)
    stored = json.loads(path.read_text())["panels"] if _ONLY.value and path.exists() else {}
    record = {**machine(), "source": _SOURCE.value, "panels": stored}
    titles = panels(_STEPS.value)
    for title, (number, runs) in titles.items():
        if _ONLY.value and title not in _ONLY.value:
            continue
        rows = record["panels"][title] = {"number": number, "runs": {}}
        for label, config in runs.items():
            run = rows["runs"][label] = _measure(number, config, _STEPS.value)
            print(f"{title}, {label}: {run['values'][-1]:.3f}, {run['seconds']} s", flush=True)
        record["panels"] = {t: record["panels"][t] for t in titles if t in record["panels"]}
        write_json(path, record, indent=None, ensure_ascii=False)
    draw(Path(_FIGURE.value), record)
    print(f"Wrote {path} and {_FIGURE.value}.")


if __name__ == "__main__":
    app.run(main)
