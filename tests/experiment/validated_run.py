"""A run with a validation split, by the command, and what it left."""

import json

import numpy as np

import vaejax

VALIDATED = [
    "--config=configs/beta_vae.py",
    "--config.train.steps=8",
    "--config.train.batch_size=4",
    "--config.train.steps_per_dispatch=2",
    "--config.train.log_every=4",
    "--config.train.checkpoint_every=2",
    "--config.train.keep_last=9",
    "--config.model.network.kind=mlp",
    "--config.model.latent_dim=2",
    "--config.evaluate.figures=False",
    "--config.mesh.data=1",
]


def file_of(path, size=6, seed=0):
    pixels = np.random.RandomState(seed).randint(0, 256, (60, size, size)).astype(np.uint8)
    parts = {"x_train": pixels[:40], "x_test": pixels[40:50], "x_val": pixels[50:]}
    np.savez(path, **parts)
    return f"--config.data.source=npz:{path}"


def records_of(workdir, split):
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["split"] == split]


def arrays_of(workdir, checkpoint="latest"):
    params = vaejax.load_run(workdir, checkpoint).params
    return {
        f"{group}/{layer}/{name}": np.asarray(value)
        for group, layers in params.items()
        for layer, arrays in layers.items()
        for name, value in arrays.items()
    }


def best_of(workdir):
    evaluations = records_of(workdir, "validation")
    return max(evaluations, key=lambda record: record["elbo"])["step"]


def run(command, *arguments):
    code, out, err = command(*arguments)
    assert code == 0, err
    return out
