"""Figures of a generator whose every image is known; and what features may be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export as jax_export

from tests.evaluation.generation.precision_recall_test import brute_force
from vaejax import losses
from vaejax.core.game import Family, Latent, Model, Trace
from vaejax.core.rng import key_of
from vaejax.data import Source
from vaejax.data.batches import eval_batches
from vaejax.distributions import Normal
from vaejax.evaluation.generation.features import load_features
from vaejax.evaluation.generation.sample_quality import (
    GENERATED,
    check_generation,
    generation_figures,
)
from vaejax.evaluation.generation.sharpness import sharpness

IMAGES = np.random.RandomState(0).rand(50, 6, 6, 1).astype(np.float32)


def source():
    rows = {"image": IMAGES}
    return Source("made up", "eval", 50, lambda i: {"image": IMAGES[i]}, rows, lambda r: dict(r))


def family():
    """Reconstructs at half the contrast; generates noise that is darker than the data."""

    def encode(params, batch, key):
        x = batch["image"]
        return (Latent(Normal(x, x), Normal(x, x), x),)

    def decode(params, zs, batch=None):
        return Normal(0.5 * zs[0] + 0.25, jnp.ones_like(zs[0]))

    def generate(params, key, n, given=None, temperature=1.0):
        mean = 0.8 * jax.random.uniform(key, (n, 6, 6, 1))
        return Normal(mean, jnp.ones_like(mean))

    def forward(params, batch, key, step):
        return Trace(batch["image"], None, ())

    return Family(Model(lambda *_: {}, forward, encode, decode, generate), losses.nll(), {})


def corners(x):
    """Four means, of a kind of feature that can be written down at once."""
    x = x.reshape(-1, 2, 3, 2, 3)
    return x.mean(axis=(2, 4)).reshape(-1, 4)


def frechet(x, y):
    """By eigenvalues of the product, not by roots of matrices."""
    a, b = np.cov(x.T), np.cov(y.T)
    roots = np.sqrt(np.linalg.eigvals(a @ b).real).sum()
    return np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a + b) - 2 * roots


@pytest.mark.parametrize("count", [40, 1000])
def test_of_known_images(count):
    seen = min(count, 50)
    order = [i for indices, mask in eval_batches(50, 16, seen) for i in indices[mask]]
    keys = [jax.random.split(key_of(2, GENERATED, i))[0] for i in range(-(-seen // 16))]
    samples = np.concatenate([0.8 * jax.random.uniform(k, (16, 6, 6, 1)) for k in keys])[:seen]
    data = IMAGES[np.array(order)]
    found = generation_figures(family(), {}, source(), corners, count=count, batch_size=16, seed=2)
    assert found.pop("sharpness") == pytest.approx(sharpness(samples, data), rel=1e-5)
    assert found.pop("sharpness/reconstructions") == pytest.approx(0.5, rel=1e-5)
    real, made, again = (
        np.asarray(corners(a), np.float64) for a in (data, samples, data / 2 + 0.25)
    )
    assert found.pop("frechet") == pytest.approx(frechet(real, made), rel=1e-4)
    assert found.pop("frechet/reconstructions") == pytest.approx(frechet(real, again), rel=1e-4)
    assert found == pytest.approx(brute_force(real, made, 3), abs=1e-9)


def test_without_features_there_is_sharpness_alone():
    found = generation_figures(family(), {}, source(), None, count=8, batch_size=8)
    assert found.keys() == {"sharpness", "sharpness/reconstructions"}


def test_data_binarised_anew_are_judged_as_they_are_stored():
    seen = []

    def features(x):
        jax.debug.callback(lambda a: seen.append(np.asarray(a)), x)
        return corners(x)

    options = {"count": 8, "batch_size": 8}
    found = generation_figures(family(), {}, source(), features, binarize="dynamic", **options)
    jax.effects_barrier()
    assert any(np.array_equal(a, IMAGES[next(eval_batches(50, 8))[0]]) for a in seen)
    # Reconstructions are of what the model is given: 0 or 1.
    assert any(np.isin(a, (0.25, 0.75)).all() for a in seen)
    assert found["frechet"] > 0


def test_what_generates_no_images():
    check_generation(family(), source(), 4)
    with pytest.raises(ValueError, match="must be more than 3, with as many held-out images"):
        check_generation(family(), source(), 3)
    vectors = Source("v", "eval", 9, lambda i: {"vector": np.zeros((len(i), 3))}, None, dict)
    with pytest.raises(ValueError, match=r"events of 'v' are \(3,\) \(of sequences see mse"):
        check_generation(family(), vectors, 9)
    judge = family()._replace(model=family().model._replace(features=corners))
    with pytest.raises(ValueError, match="models that generate images"):
        check_generation(judge, source(), 9)


def nothing(*_):
    raise AssertionError


def load(asked, shape=(6, 6, 1)):
    return load_features(str(asked), shape, build=nothing, load_split=nothing)


def test_features_of_an_exported_program(tmp_path):
    (b,) = jax_export.symbolic_shape("b")
    exported = jax_export.export(jax.jit(corners))(jax.ShapeDtypeStruct((b, 6, 6, 1), jnp.float32))
    (tmp_path / "corners.jaxexport").write_bytes(exported.serialize())
    features = load(tmp_path / "corners.jaxexport")
    np.testing.assert_allclose(jax.jit(features)(IMAGES[:7]), corners(IMAGES[:7]), rtol=1e-6)
    with pytest.raises(ValueError, match=r"corners\.jaxexport does not take images \(8, 8, 1\)"):
        load(tmp_path / "corners.jaxexport", (8, 8, 1))


def test_features_that_are_none(tmp_path):
    (tmp_path / "bad.jaxexport").write_bytes(b"no program")
    with pytest.raises(ValueError, match=r"bad\.jaxexport is no program of jax\.export"):
        load(tmp_path / "bad.jaxexport")
    with pytest.raises(ValueError, match=r"\.jaxexport, \.npz, \.safetensors"):
        load(tmp_path / "weights.pt")
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.npz"):
        load(tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError, match="is no trained run: --config"):
        load(tmp_path)
