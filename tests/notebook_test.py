"""What a notebook asks for, against the same done by hand."""

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
from vaejax.evaluation.evaluate import evaluator
from vaejax.families import beta_vae, cvae, hierarchical, vqvae
from vaejax.quantizers import grouped, vector
from vaejax.training import Settings
from vaejax.training.logging import read_records
from vaejax.training.two_stage import first_stage
from vaejax.visualization.plots import grids_and_curves

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


def test_what_was_trained_is_judged_on_all_held_out_data(splits, trained):
    held_out = splits[1]
    judge = evaluator(trained.family, held_out, make_mesh(1), batch_size=16, seed=3)
    assert trained.figures == pytest.approx(judge(trained.params, 4), rel=1e-5)
    assert trained.held_out is held_out
    assert trained.step == 4
    logged = [(r["split"], r["step"]) for r in read_records(trained.metrics)]
    assert logged == [("train", 2), ("train", 4), ("eval", 4)]
    assert all(a.is_fully_addressable for a in jax.tree.leaves(trained.params))
    assert {len(a.devices()) for a in jax.tree.leaves(trained.params)} == {1}


def test_pictures_are_shown_as_they_were_written(tmp_path):
    seen = {}

    def plot(path, number, *, text):
        seen.update(number=number, text=text)
        path.write_bytes(b"\x89PNG pixels")

    picture = notebook.show(plot, 3, text="a")
    assert seen == {"number": 3, "text": "a"}
    assert picture.path.name == "plot.png"
    kind, data = re.search(r'src="data:image/(\w+);base64,([^"]+)"', picture._repr_html_()).groups()
    assert (kind, base64.b64decode(data)) == ("png", b"\x89PNG pixels")

    def several(folder):
        assert not list(folder.iterdir())
        for name in ("b.gif", "a.png", "c.txt"):
            (folder / name).write_bytes(name.encode())

    found = notebook.pictures(several)
    assert list(found) == ["a.png", "b.gif"]
    assert "data:image/gif;base64," in found["b.gif"]._repr_html_()


def test_runs_side_by_side(trained):
    other = trained._replace(figures={"kl": 12.3456, "tc": 0.5})
    runs = {"one": trained._replace(figures={"kl": 1.0}), "another": other}
    assert notebook.compare(runs, ["kl", "tc"]).splitlines() == [
        "    one  another",
        "kl    1    12.35",
        "tc    –      0.5",
    ]


def test_another_backend_of_matplotlib_stays():
    before = matplotlib.get_backend()
    try:
        pyplot.switch_backend("svg")
        grids_and_curves.load_pyplot()
        assert matplotlib.get_backend() == "svg"
    finally:
        pyplot.switch_backend(before)


def test_a_model_trained_here_becomes_a_first_stage(splits):
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


def test_what_no_prior_can_be_learned_for_is_told():
    images = np.zeros((20, 4, 4, 1), np.float32)
    data = from_arrays({"image": images, "label": np.arange(20) % 2})
    family = cvae((4, 4, 1), {"vae": adam(nll=1.0, kl=1.0)}, latent_dim=2, network=TINY, classes=2)
    batch = data.decode(data.take(np.arange(4)))
    params = jax.eval_shape(family.model.init, jax.random.key(0), batch)
    with pytest.raises(ValueError, match="first_stage is a conditional model"):
        first_stage(family, params, data)


def test_traversals_are_those_of_a_run(trained, monkeypatch):
    drawn = []
    monkeypatch.setattr(grids_and_curves, "traversals", lambda *args: drawn.append(args[1:]))
    monkeypatch.setattr(grids_and_curves.traversals, "__name__", "traversals")
    notebook.traversals(trained)
    notebook.all_pictures(trained, count=4)
    (images, labels), (same, same_labels) = drawn
    assert labels == same_labels
    np.testing.assert_allclose(images, same, atol=1e-6)


def test_traversals_of_anything_else_are_refused(trained):
    family = hierarchical(
        (4, 4, 1),
        {"vae": adam(nll=1.0, kl=1.0)},
        network={"kind": "dense", "latent_dims": (2, 3), "hidden": (4, 4)},
    )
    batch = trained.held_out.decode(trained.held_out.take(np.arange(4)))
    params = jax.eval_shape(family.model.init, jax.random.key(0), batch)
    with pytest.raises(ValueError, match=r"one Gaussian vector, found latents .*\(2,\), \(3,\)"):
        notebook.traversals(trained._replace(family=family, params=params))
