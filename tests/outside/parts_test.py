"""The parts from outside of the library, against SciPy and brute force."""

import importlib
import itertools
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import vaejax
from vaejax.data import LoadOptions, from_arrays
from vaejax.distributions import Normal

HERE = Path(__file__).parent
PARTS = (
    *("von_mises_fisher", "hyperspherical_vae", "binary_spherical"),
    *("hyperbolic_secant", "rings", "nearest_class"),
)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def parts():
    """The modules, without their names in the registries that other tests see."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        patch.setattr(vaejax, "register", lambda kind, name: lambda entry: entry)
        with mock.patch.dict(sys.modules):
            yield SimpleNamespace(**{name: importlib.import_module(name) for name in PARTS})


def posterior(parts, concentrations, count=1):
    """Of a point on each of two spheres, and SciPy's distribution on each."""
    direction = np.random.RandomState(0).randn(2, 3)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    mu = jnp.asarray(np.tile(direction.reshape(6), (count, 1)), jnp.float32)
    k = jnp.asarray(np.tile(np.repeat(concentrations, 3), (count, 1)), jnp.float32)
    q = parts.von_mises_fisher.VonMisesFisher(mu, k)
    return q, [
        scipy.stats.vonmises_fisher(d, c) for d, c in zip(direction, concentrations, strict=True)
    ]


def test_von_mises_fisher_density_and_kl(parts):
    for concentrations in ((0.5, 1.0), (12.0, 300.0)):
        q, spheres = posterior(parts, concentrations)
        z = [s.rvs(5, random_state=np.random.RandomState(0)) for s in spheres]
        log_prob = q.log_prob(jnp.asarray(np.concatenate(z, axis=1), jnp.float32))
        want = sum(s.logpdf(x) for s, x in zip(spheres, z, strict=True))
        np.testing.assert_allclose(log_prob, want, rtol=1e-5, atol=1e-4)
        prior = parts.von_mises_fisher.UniformOnSpheres(jnp.zeros((1, 6)))
        area = 2 * np.log(4 * np.pi)
        assert prior.log_prob(q.direction) == pytest.approx(-area, rel=1e-6)
        kl = vaejax.distributions.kl(q, prior, q.direction)
        want = area - sum(float(s.entropy()) for s in spheres)
        assert kl[0] == pytest.approx(want, rel=1e-4, abs=1e-4)


def test_von_mises_fisher_samples(parts):
    n, concentrations = 20_000, (1.0, 40.0)
    q, spheres = posterior(parts, concentrations, n)
    z = np.asarray(jax.jit(lambda q, key: q.sample(key))(q, KEY))
    np.testing.assert_allclose(q.variance[0], z.var(axis=0), rtol=0.1)
    for i, (sphere, k) in enumerate(zip(spheres, concentrations, strict=True)):
        part, mu = z[:, 3 * i : 3 * i + 3], np.asarray(q.direction[0, 3 * i : 3 * i + 3])
        np.testing.assert_allclose(np.linalg.norm(part, axis=1), 1.0, atol=1e-5)
        draws = sphere.rvs(n, random_state=np.random.RandomState(1))
        assert scipy.stats.ks_2samp(part @ mu, draws @ mu).pvalue > 1e-3
        error = 5 * float((part @ mu).std()) / n**0.5
        length = 1 / np.tanh(k) - 1 / k
        assert q.length[0, 3 * i] == pytest.approx(length, rel=1e-5)
        assert np.linalg.norm(part.mean(axis=0)) == pytest.approx(length, abs=error)


def test_the_gradient_of_a_sample_is_that_of_its_expectation(parts):
    n, concentrations = 20_000, (1.0, 40.0)
    q, _ = posterior(parts, concentrations, n)

    @jax.jit
    def slopes(q, key):
        def cosines(k):
            z = parts.von_mises_fisher.VonMisesFisher(q.direction, k).sample(key)
            return jnp.sum((z * q.direction).reshape(n, 2, 3), axis=2)

        return jax.jvp(cosines, (q.concentration,), (jnp.ones_like(q.concentration),))[1]

    found = np.asarray(slopes(q, KEY))
    for i, k in enumerate(concentrations):
        a = 1 / np.tanh(k) - 1 / k
        error = 5 * float(found[:, i].std()) / n**0.5
        assert found[:, i].mean() == pytest.approx(1 - a * a - 2 * a / k, abs=error)


def test_binary_spherical_is_the_nearest_corner(parts):
    bits = 5
    quantizer = parts.binary_spherical.binary_spherical(bits)
    tokens = np.random.RandomState(0).randn(3, 7, bits).astype(np.float32)
    q, z = quantizer.quantize({}, jnp.asarray(tokens), None)
    corners = np.array(list(itertools.product([-1, 1], repeat=bits))) / bits**0.5
    on_sphere = tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)
    nearest = np.square(on_sphere[..., None, :] - corners).sum(axis=-1).argmin(axis=-1)
    np.testing.assert_allclose(q.codes, corners[nearest], rtol=1e-6)
    np.testing.assert_allclose(z, corners[nearest], rtol=1e-5)
    np.testing.assert_allclose(quantizer.embed({}, q.indices), q.codes)
    np.testing.assert_allclose(q.features, on_sphere, rtol=1e-5)
    assert len(np.unique(quantizer.embed({}, jnp.arange(2**bits)), axis=0)) == q.size == 2**bits
    assert not np.any(quantizer.embed({}, jnp.array([-1])))
    gradient = jax.grad(lambda t: (quantizer.quantize({}, t, None)[1] * tokens).sum())(tokens)
    np.testing.assert_allclose((gradient * tokens).sum(axis=-1), 0, atol=1e-5)  # along the sphere
    with pytest.raises(ValueError, match="1 to 30 bits"):
        parts.binary_spherical.binary_spherical(31)


def test_hyperbolic_secant(parts):
    likelihood = parts.hyperbolic_secant.hyperbolic_secant(scale=0.3)
    loc = np.random.RandomState(0).randn(200, 8, 8, 2).astype(np.float32)
    p = likelihood.apply(jnp.asarray(loc))
    assert likelihood.width(2) == 2
    x = p.sample(KEY)
    expected = scipy.stats.hypsecant(loc, 0.3)
    np.testing.assert_allclose(p.log_prob(x), expected.logpdf(x), rtol=1e-4, atol=1e-4)
    assert scipy.stats.kstest(np.ravel((x - loc) / 0.3), "hypsecant").pvalue > 1e-3
    np.testing.assert_allclose(p.variance, expected.var(), rtol=1e-5)
    np.testing.assert_array_equal(p.mean, loc)


def test_rings(parts):
    def split(name, **options):
        return parts.rings.rings("12", LoadOptions("rings:12", name, **options))

    train, held_out = split("train", holdout=0.25), split("eval", holdout=0.25)
    assert (train.size, held_out.size) == (288, 96)
    assert train.factor_sizes == (3, 2, 8, 8)
    batch = held_out.decode(held_out.take(np.arange(96)))
    assert batch["image"].shape == (96, 12, 12, 1)
    np.testing.assert_array_equal(batch["label"], batch["factors"][:, 0])
    mass = np.asarray(batch["image"].sum(axis=(1, 2, 3)))
    assert mass[batch["label"] == 2].mean() > mass[batch["label"] == 0].mean()
    small = split("train", image_size=6, channels=3)
    assert small.decode(small.take(np.arange(2)))["image"].shape == (2, 6, 6, 3)
    with pytest.raises(ValueError, match="at least 8"):
        parts.rings.rings("big", LoadOptions("rings:big"))


def test_nearest_class(parts):
    metric = parts.nearest_class.NearestClass()
    label = np.arange(90) % 3
    vector = np.random.RandomState(0).randn(90, 2) + 10 * np.stack([label, -label], axis=1)
    source = from_arrays({"vector": vector, "label": label}, "eval", holdout=0)
    model = SimpleNamespace(
        encode=lambda params, batch, key: (
            vaejax.Latent(Normal(batch["vector"] * params, jnp.ones((1, 1))), None, None),
        )
    )

    def accuracy(scale):
        context = vaejax.EvaluationContext(
            *(SimpleNamespace(model=model), jnp.float32(scale), source),
            batch_size=40,
        )
        return metric.compute(context)["nearest_class_accuracy"]

    assert accuracy(1.0) == 1.0
    assert accuracy(0.0) == pytest.approx(1 / 3, abs=0.15)  # the first class, whatever x is
    assert metric.requires(None, source) is None
    assert "no labels" in metric.requires(None, from_arrays({"vector": vector}))
