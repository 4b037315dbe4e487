"""Pictures: the files that are promised, and traversals read back through a transparent decoder."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from matplotlib import image

from vaejax import families
from vaejax.core import game
from vaejax.core.game import Latent
from vaejax.data.readers.npz import from_arrays
from vaejax.distributions import Normal
from vaejax.networks import Network
from vaejax.quantizers import vector
from vaejax.visualization.report import draw, traverse

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


def drawn(family, source, tmp_path, records=True):
    if records:
        lines = [
            {"step": step, "split": split, "nll": 1.0 / step, "elbo": None}
            for step in (1, 2, 3)
            for split in ("train", "eval")
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / "metrics.jsonl").write_text(text)
    batch = source.decode(source.take(np.arange(8)))
    params = jax.jit(lambda: game.init(family, jax.random.key(0), batch))()
    draw(
        family,
        params,
        source,
        tmp_path / "figures",
        binarize="none",
        seed=0,
        metrics=tmp_path / "metrics.jsonl",
        count=9,
    )
    return {file.name: image.imread(file) if file.suffix == ".png" else file.read_text()
            for file in (tmp_path / "figures").iterdir()}  # fmt: skip


@pytest.fixture(scope="module")
def images():
    return from_arrays((np.random.RandomState(0).rand(20, *SHAPE) < 0.5).astype(np.uint8))


def test_of_a_vae(images, tmp_path):
    files = drawn(vae(), images, tmp_path)
    names = {"reconstructions", "samples", "losses", "traversals", "interpolations"}
    assert set(files) == {f"{name}.png" for name in names}
    assert all(picture.std() > 0.01 for picture in files.values())  # something is drawn


def test_of_labelled_vectors(tmp_path):
    arrays = {
        "vector": np.random.RandomState(0).standard_normal((20, 6)),
        "label": np.arange(20) % 3,
    }
    files = drawn(vae((6,), "normal"), from_arrays(arrays), tmp_path, records=False)
    assert set(files) == {"latents.png"}


def test_of_a_vqvae(images, tmp_path):
    files = drawn(vqvae(), images, tmp_path)
    assert set(files) == {"reconstructions.png", "samples.png", "losses.png", "codes.png"}
    assert all(picture.std() > 0.01 for picture in files.values())


def test_of_vectors(tmp_path):
    vectors = from_arrays(np.random.RandomState(0).standard_normal((20, 6)))
    assert set(drawn(vae((6,), "normal"), vectors, tmp_path)) == {"losses.png"}


def test_of_signals(tmp_path):
    signals = from_arrays({"signal": np.random.RandomState(0).standard_normal((20, 12))})
    files = drawn(vqvae((12, 1), "normal", "residual_1d"), signals, tmp_path)
    assert set(files) == {"reconstructions.png", "samples.png", "losses.png", "codes.png"}
    assert all(picture.std() > 0.01 for picture in files.values())


def test_of_tokens(tmp_path):
    tokens = np.random.RandomState(0).randint(5, size=(20, 12))
    tokens = from_arrays({"tokens": tokens, "token_names": np.array(list("abcde"))})
    files = drawn(vqvae((12,), "categorical", "residual_1d", tokens=5), tokens, tmp_path)
    assert set(files) == {"reconstructions.txt", "samples.txt", "losses.png", "codes.png"}
    title, blank, *samples = files["samples.txt"].splitlines()
    assert title.startswith("Codes drawn uniformly")
    assert blank == ""
    assert len(samples) == 9
    assert all(len(line) == 12 and set(line) <= set("abcde") for line in samples)
    assert files["reconstructions.txt"].startswith("Reconstructions below the data; ^ marks ")


def test_without_records(images, tmp_path):
    assert "losses.png" not in drawn(vae(), images, tmp_path, records=False)


def test_traversals():
    """Pixel i shows z_i: what changes along a row, over which range, and in which order."""
    loc = np.random.RandomState(0).standard_normal((50, 4)) * [0.5, 3.0, 0.0, 1.0] + 2.0
    scale = np.broadcast_to([0.5, 0.2, 1.0, 0.3], (50, 4))
    q = Normal(jnp.asarray(loc, jnp.float32), jnp.asarray(scale, jnp.float32))
    prior = Normal(jnp.zeros((50, 4)), jnp.ones((50, 4)))
    players = {"vae": ({"nll": 1.0}, optax.sgd(1.0))}
    show = Network(lambda key, z: {}, lambda params, z: z.reshape(-1, 2, 2, 1))
    family = families.beta_vae(
        (2, 2, 1), players, latent_dim=4, network=(show, show), likelihood="normal"
    )
    params = {"encoder": {}, "decoder": {}}
    pictures, labels = traverse(family, params, Latent(q, prior, q.loc), rows=3, values=5)
    assert pictures.shape == (3, 5, 2, 2, 1)

    nats = 0.5 * (scale**2 + loc**2 - 1 - np.log(scale**2)).mean(axis=0)
    order = np.argsort(-nats)[:3]
    assert labels == [f"z{i}  {nats[i]:.2f} nats" for i in order]
    z = np.asarray(pictures).reshape(3, 5, 4)
    for row, i in zip(z, order, strict=True):
        others = [j for j in range(4) if j != i]
        np.testing.assert_allclose(row[:, others], np.tile(loc[0, others], (5, 1)), rtol=1e-6)
        spread = np.sqrt(loc[:, i].var() + (scale[:, i] ** 2).mean())
        wanted = loc[:, i].mean() + spread * np.array([-2, -1, 0, 1, 2])
        np.testing.assert_allclose(row[:, i], wanted, rtol=1e-5, atol=1e-6)
