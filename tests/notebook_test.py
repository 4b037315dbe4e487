"""The functions of `vaejax.notebook` against the same steps without them."""

import base64
import re

import jax
import matplotlib
import numpy as np
import optax
import pytest
from matplotlib import pyplot

from vaejax import notebook
from vaejax.core.sharding import make_mesh
from vaejax.data import from_arrays
from vaejax.evaluation import evaluator
from vaejax.families import beta_vae, cvae, hierarchical, vqvae
from vaejax.quantizers import grouped, vector
from vaejax.training import Settings, first_stage, read_records
from vaejax.visualization import plots

SETTINGS = Settings(steps=4, batch_size=16, steps_per_dispatch=2, log_every=2)
TINY = {"kind": "mlp", "hidden": (8,)}


@pytest.fixture(scope="module")
def splits():
    images = np.random.default_rng(0).random((60, 4, 4, 1)).astype(np.float32)
    return [from_arrays(images, split, holdout=0.3) for split in ("train", "eval")]


def adam(**minimizes):
    return minimizes, optax.adam(1e-2)


@pytest.fixture(scope="module")
def trained(splits):
    family = beta_vae((4, 4, 1), {"vae": adam(nll=1.0, kl=2.0)}, latent_dim=2, network=TINY)
    return notebook.train(family, *splits, SETTINGS, seed=3)


def test_training_ends_with_an_evaluation_of_all_held_out_data(splits, trained):
    held_out = splits[1]
    evaluate = evaluator(trained.family, held_out, make_mesh(1), batch_size=16, seed=3)
    assert trained.metrics == pytest.approx(evaluate(trained.params, 4), rel=1e-5)
    assert trained.held_out is held_out
    assert trained.step == 4
    logged = [(r["split"], r["step"]) for r in read_records(trained.records)]
    assert logged == [("train", 2), ("train", 4), ("eval", 4)]
    assert all(a.is_fully_addressable for a in jax.tree.leaves(trained.params))
    assert {len(a.devices()) for a in jax.tree.leaves(trained.params)} == {1}


def test_figures_are_shown_as_they_were_written():
    arguments = {}

    def plot(path, number, *, text):
        arguments.update(number=number, text=text)
        path.write_bytes(b"\x89PNG pixels")

    figure = notebook.show(plot, 3, text="a")
    assert arguments == {"number": 3, "text": "a"}
    assert figure.path.name == "plot.png"
    kind, data = re.search(r'src="data:image/(\w+);base64,([^"]+)"', figure._repr_html_()).groups()
    assert (kind, base64.b64decode(data)) == ("png", b"\x89PNG pixels")

    def draw(folder):
        assert not list(folder.iterdir())
        for name in ("b.gif", "a.png", "c.txt"):
            (folder / name).write_bytes(name.encode())

    shown = notebook.figures(draw)
    assert list(shown) == ["a.png", "b.gif"]
    assert "data:image/gif;base64," in shown["b.gif"]._repr_html_()


def test_table_of_several_runs(trained):
    other = trained._replace(metrics={"kl": 12.3456, "tc": 0.5})
    runs = {"one": trained._replace(metrics={"kl": 1.0}), "another": other}
    assert notebook.compare(runs, ["kl", "tc"]).splitlines() == [
        "    one  another",
        "kl    1    12.35",
        "tc    –      0.5",
    ]


def test_backend_of_matplotlib_is_kept():
    before = matplotlib.get_backend()
    try:
        pyplot.switch_backend("svg")
        plots.load_pyplot()
        assert matplotlib.get_backend() == "svg"
    finally:
        pyplot.switch_backend(before)


@pytest.mark.slow
def test_trained_model_becomes_a_first_stage(splits):
    data, _ = splits
    family = vqvae(
        (4, 4, 1),
        {"vae": adam(nll=1.0, vq=0.25), "codebook": adam(vq=1.0)},
        quantizer=grouped(vector(5, 3), groups=4),
        network=TINY,
    )
    batch = data.decode(data.take(np.arange(data.size)))
    params = jax.jit(family.model.init)(jax.random.key(0), batch)
    first = first_stage(family, params, data, batch_size=8)
    tokens = first.latents(data)
    assert (first.layout.length, first.layout.vocabulary, tokens.size) == (4, 5, data.size)
    (node,) = family.model.encode(params, batch, None)
    np.testing.assert_array_equal(
        tokens.take(np.arange(data.size))["tokens"], node.posterior.indices.reshape(-1, 4)
    )


def test_conditional_first_stages_are_rejected():
    images = np.zeros((20, 4, 4, 1), np.float32)
    data = from_arrays({"image": images, "label": np.arange(20) % 2})
    family = cvae((4, 4, 1), {"vae": adam(nll=1.0, kl=1.0)}, latent_dim=2, network=TINY, classes=2)
    batch = data.decode(data.take(np.arange(4)))
    params = jax.eval_shape(family.model.init, jax.random.key(0), batch)
    with pytest.raises(ValueError, match="first_stage is a conditional model"):
        first_stage(family, params, data)


def test_traversals_are_those_of_a_run(trained, monkeypatch):
    calls = []
    monkeypatch.setattr(plots, "traversals", lambda *args: calls.append(args[1:]))
    monkeypatch.setattr(plots.traversals, "__name__", "traversals")
    notebook.traversals(trained)
    notebook.all_figures(trained, count=4)
    (images, labels), (run_images, run_labels) = calls
    assert labels == run_labels
    np.testing.assert_allclose(images, run_images, atol=1e-6)


def test_traversals_of_other_latents_are_rejected(trained):
    family = hierarchical(
        (4, 4, 1),
        {"vae": adam(nll=1.0, kl=1.0)},
        network={"kind": "dense", "latent_dims": (2, 3), "hidden": (4, 4)},
    )
    batch = trained.held_out.decode(trained.held_out.take(np.arange(4)))
    params = jax.eval_shape(family.model.init, jax.random.key(0), batch)
    with pytest.raises(
        ValueError, match=r"one continuous vector of latents, found latents .*\(2,\), \(3,\)"
    ):
        notebook.traversals(trained._replace(family=family, params=params))
