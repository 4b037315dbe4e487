"""The files that the report writes for each kind of model and data."""

import functools
import json

import jax
import numpy as np
import optax
import pytest
from matplotlib import image

from tests.random_params import random_params
from vaejax import families
from vaejax.core import game
from vaejax.data.readers.npz import from_arrays
from vaejax.evaluation import EvaluationContext
from vaejax.quantizers import vector
from vaejax.visualization import draw_figures

SHAPE = (8, 8, 1)
MLP = {"kind": "mlp", "hidden": (8,)}


def vae(shape=SHAPE, likelihood="bernoulli"):
    players = {"vae": ({"nll": 1.0, "kl": 1.0}, optax.sgd(1.0))}
    return families.beta_vae(shape, players, latent_dim=4, network=MLP, likelihood=likelihood)


def vqvae(shape=SHAPE, likelihood="bernoulli", kind="residual", **options):
    players = {"vae": ({"nll": 1.0}, optax.sgd(1.0)), "codebook": ({"vq": 1.0}, optax.sgd(1.0))}
    network = {"kind": kind, "hidden": 8, "downsamplings": 2, "blocks": 1}
    return families.vqvae(
        shape,
        players,
        quantizer=vector(5, 4),
        network=network,
        likelihood=likelihood,
        **options,
    )


def figures_of(family, source, tmp_path, records=True):
    if records:
        lines = [
            {"step": step, "split": split, "nll": 1.0 / step, "elbo": None}
            for step in (1, 2, 3)
            for split in ("train", "eval")
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / "metrics.jsonl").write_text(text)
    batch = source.decode(source.take(np.arange(8)))
    params = random_params(functools.partial(game.init, family), jax.random.key(0), batch)
    draw_figures(
        EvaluationContext(family, params, source),
        tmp_path / "figures",
        records=tmp_path / "metrics.jsonl",
        count=9,
    )
    return {file.name: image.imread(file) if file.suffix == ".png" else file.read_text()
            for file in (tmp_path / "figures").iterdir()}  # fmt: skip


@pytest.fixture(scope="module")
def images():
    return from_arrays((np.random.RandomState(0).rand(20, *SHAPE) < 0.5).astype(np.uint8))


def test_figures_of_a_vae(images, tmp_path):
    files = figures_of(vae(), images, tmp_path)
    names = {"reconstructions", "samples", "losses", "traversals", "interpolations"}
    assert set(files) == {f"{name}.png" for name in names}
    assert all(pixels.std() > 0.01 for pixels in files.values())  # not blank


def test_figures_of_labelled_vectors(tmp_path):
    arrays = {
        "vector": np.random.RandomState(0).standard_normal((20, 6)),
        "label": np.arange(20) % 3,
    }
    files = figures_of(vae((6,), "normal"), from_arrays(arrays), tmp_path, records=False)
    assert set(files) == {"latents.png"}


def test_figures_of_a_vqvae(images, tmp_path):
    files = figures_of(vqvae(), images, tmp_path)
    assert set(files) == {"reconstructions.png", "samples.png", "losses.png", "codes.png"}
    assert all(pixels.std() > 0.01 for pixels in files.values())


def test_figures_of_vectors(tmp_path):
    vectors = from_arrays(np.random.RandomState(0).standard_normal((20, 6)))
    assert set(figures_of(vae((6,), "normal"), vectors, tmp_path)) == {"losses.png"}


@pytest.mark.slow
def test_figures_of_signals(tmp_path):
    signals = from_arrays({"signal": np.random.RandomState(0).standard_normal((20, 12))})
    files = figures_of(vqvae((12, 1), "normal", "residual_1d"), signals, tmp_path)
    assert set(files) == {"reconstructions.png", "samples.png", "losses.png", "codes.png"}
    assert all(pixels.std() > 0.01 for pixels in files.values())


def test_figures_of_tokens(tmp_path):
    tokens = np.random.RandomState(0).randint(5, size=(20, 12))
    tokens = from_arrays({"tokens": tokens, "token_names": np.array(list("abcde"))})
    files = figures_of(vqvae((12,), "categorical", "residual_1d", tokens=5), tokens, tmp_path)
    assert set(files) == {"reconstructions.txt", "samples.txt", "losses.png", "codes.png"}
    title, blank, *samples = files["samples.txt"].splitlines()
    assert title.startswith("Samples from uniform codes")
    assert blank == ""
    assert len(samples) == 9
    assert all(len(line) == 12 and set(line) <= set("abcde") for line in samples)
    assert files["reconstructions.txt"].startswith("Reconstructions below the data; ^ marks ")


def test_no_curves_without_records(images, tmp_path):
    assert "losses.png" not in figures_of(vae(), images, tmp_path, records=False)
