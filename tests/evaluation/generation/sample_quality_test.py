"""Sample quality of a generator with known images, and feature extractors."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export as jax_export

from tests.evaluation.generation.precision_recall_test import brute_force
from vaejax import losses
from vaejax.core.game import Family, Latent, Model, Trace
from vaejax.data import Source
from vaejax.data.batches import eval_batches
from vaejax.distributions import Normal
from vaejax.evaluation import EvaluateOptions, EvaluationContext
from vaejax.evaluation.generation.features import load_feature_extractor
from vaejax.evaluation.generation.sample_quality import (
    SampleQuality,
    sample_quality,
)
from vaejax.evaluation.generation.sharpness import sharpness

IMAGES = np.random.RandomState(0).rand(50, 6, 6, 1).astype(np.float32)


def source():
    rows = {"image": IMAGES}
    return Source(
        "random images", "eval", 50, lambda i: {"image": IMAGES[i]}, rows, lambda r: dict(r)
    )


def family(generated=None):
    """Reconstructs with half the contrast; generates noise darker than the data.

    The list `generated` receives the batches of samples in their order.
    """

    def encode(params, batch, key):
        x = batch["image"]
        return (Latent(Normal(x, x), Normal(x, x), x),)

    def decode(params, zs, batch=None):
        return Normal(0.5 * zs[0] + 0.25, jnp.ones_like(zs[0]))

    def generate(params, key, n, conditions=None, temperature=1.0):
        mean = 0.8 * jax.random.uniform(key, (n, 6, 6, 1))
        if generated is not None:
            jax.debug.callback(lambda a: generated.append(np.asarray(a)), mean, ordered=True)
        return Normal(mean, jnp.ones_like(mean))

    def forward(params, batch, key, step):
        return Trace(batch["image"], None, ())

    return Family(Model(lambda *_: {}, forward, encode, decode, generate), losses.nll(), {})


def block_means(x):
    """Four features of an image: the means of its quadrants."""
    x = x.reshape(-1, 2, 3, 2, 3)
    return x.mean(axis=(2, 4)).reshape(-1, 4)


def frechet(x, y):
    """By eigenvalues of the product instead of matrix roots."""
    a, b = np.cov(x.T), np.cov(y.T)
    roots = np.sqrt(np.linalg.eigvals(a @ b).real).sum()
    return np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a + b) - 2 * roots


@pytest.mark.parametrize("count", [40, 1000])
def test_metrics_of_known_images(count):
    size = min(count, 50)
    order = [i for indices, mask in eval_batches(50, 16, size) for i in indices[mask]]
    data, generated = IMAGES[np.array(order)], []
    model = family(generated)
    context = EvaluationContext(model, {}, source(), batch_size=16, seed=2, features=block_means)
    metrics = sample_quality(context, count)
    jax.effects_barrier()
    samples = np.concatenate(generated)[:size]
    assert len(generated) == -(-size // 16)
    assert len(np.unique(samples.reshape(size, -1), axis=0)) == size, "one key for two batches"
    assert metrics.pop("sharpness") == pytest.approx(sharpness(samples, data), rel=1e-5)
    assert metrics.pop("sharpness/reconstructions") == pytest.approx(0.5, rel=1e-5)
    real, generated, reconstructed = (
        np.asarray(block_means(a), np.float64) for a in (data, samples, data / 2 + 0.25)
    )
    assert metrics.pop("frechet") == pytest.approx(frechet(real, generated), rel=1e-4)
    assert metrics.pop("frechet/reconstructions") == pytest.approx(
        frechet(real, reconstructed), rel=1e-4
    )
    assert metrics == pytest.approx(brute_force(real, generated, 3), abs=1e-9)


def test_only_sharpness_without_a_feature_extractor():
    metrics = sample_quality(EvaluationContext(family(), {}, source(), batch_size=8), 8)
    assert metrics.keys() == {"sharpness", "sharpness/reconstructions"}


def test_dynamically_binarised_data_are_compared_in_stored_form():
    inputs = []

    def features(x):
        jax.debug.callback(lambda a: inputs.append(np.asarray(a)), x)
        return block_means(x)

    context = EvaluationContext(
        family(), {}, source(), batch_size=8, binarize="dynamic", features=features
    )
    metrics = sample_quality(context, 8)
    jax.effects_barrier()
    assert any(np.array_equal(a, IMAGES[next(eval_batches(50, 8))[0]]) for a in inputs)
    # Reconstructions are of the binarised images.
    assert any(np.isin(a, (0.25, 0.75)).all() for a in inputs)
    assert metrics["frechet"] > 0


def test_models_without_images_are_rejected():
    requires = SampleQuality().requires
    assert requires(family(), source()) is None
    few = dataclasses.replace(source(), size=3)
    assert "found 3" in requires(family(), few)
    with pytest.raises(ValueError, match=r"num_generated.* 3"):
        EvaluateOptions(num_generated=3)
    vectors = Source("v", "eval", 9, lambda i: {"vector": np.zeros((len(i), 3))}, None, dict)
    assert "'v' have shape (3,) (for sequences see mse" in requires(family(), vectors)
    classifier = family()._replace(model=family().model._replace(features=block_means))
    assert "generates images" in requires(classifier, source())


def unused(*_):
    raise AssertionError


def load(location, shape=(6, 6, 1)):
    return load_feature_extractor(str(location), shape, build=unused, load_split=unused)


def test_features_of_an_exported_program(tmp_path):
    (b,) = jax_export.symbolic_shape("b")
    exported = jax_export.export(jax.jit(block_means))(
        jax.ShapeDtypeStruct((b, 6, 6, 1), jnp.float32)
    )
    (tmp_path / "means.jaxexport").write_bytes(exported.serialize())
    features = load(tmp_path / "means.jaxexport")
    np.testing.assert_allclose(jax.jit(features)(IMAGES[:7]), block_means(IMAGES[:7]), rtol=1e-6)
    with pytest.raises(ValueError, match=r"means\.jaxexport.*\(8, 8, 1\)"):
        load(tmp_path / "means.jaxexport", (8, 8, 1))


def test_invalid_feature_extractors_are_reported(tmp_path):
    (tmp_path / "bad.jaxexport").write_bytes(b"no program")
    with pytest.raises(ValueError, match=r"bad\.jaxexport.*jax\.export"):
        load(tmp_path / "bad.jaxexport")
    with pytest.raises(ValueError, match=r"\.jaxexport, \.npz, \.safetensors"):
        load(tmp_path / "weights.pt")
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.npz"):
        load(tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError, match="has no checkpoint"):
        load(tmp_path)
