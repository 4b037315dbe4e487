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
from vaejax.data import from_arrays, load_options
from vaejax.distributions import Normal

HERE = Path(__file__).parent
PARTS = (
    *("von_mises_fisher", "hyperspherical_vae", "binary_spherical"),
    *("laplace", "rings", "nearest_class"),
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


def posterior(parts, dim, concentration, count=1):
    direction = np.random.RandomState(dim).randn(dim)
    direction /= np.linalg.norm(direction)
    mu = jnp.asarray(np.tile(direction, (count, 1)), jnp.float32)
    q = parts.von_mises_fisher.VonMisesFisher(mu, jnp.full((count, 1), concentration))
    return q, scipy.stats.vonmises_fisher(direction, concentration)


@pytest.mark.parametrize("dim", [2, 3, 8, 50])
def test_von_mises_fisher_density_and_kl(parts, dim):
    log_area = np.log(2) + dim / 2 * np.log(np.pi) - scipy.special.gammaln(dim / 2)
    for concentration in (0.05, 1.0, 12.0, 300.0):
        q, expected = posterior(parts, dim, concentration)
        z = expected.rvs(5, random_state=np.random.RandomState(0))
        log_prob = q.log_prob(jnp.asarray(z, jnp.float32))
        np.testing.assert_allclose(log_prob, expected.logpdf(z), rtol=1e-5, atol=1e-4)
        prior = parts.hyperspherical_vae.UniformOnSphere(jnp.zeros((1, dim)))
        assert prior.log_prob(q.direction) == pytest.approx(-log_area, rel=1e-5)
        kl = vaejax.distributions.kl(q, prior, q.direction)
        assert kl[0] == pytest.approx(log_area - float(expected.entropy()), rel=1e-3, abs=2e-4)


@pytest.mark.parametrize(("dim", "concentration"), [(2, 1.0), (3, 8.0), (16, 40.0)])
def test_von_mises_fisher_samples(parts, dim, concentration):
    n = 20_000
    q, expected = posterior(parts, dim, concentration, n)
    z = np.asarray(jax.jit(lambda q, key: q.sample(key))(q, KEY))
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1.0, atol=1e-5)
    cosines = z @ np.asarray(q.direction[0])
    draws = expected.rvs(n, random_state=np.random.RandomState(1)) @ np.asarray(q.direction[0])
    assert scipy.stats.ks_2samp(cosines, draws).pvalue > 1e-3
    error = 5 * float(cosines.std()) / n**0.5
    bessel = scipy.special.ive([dim / 2, dim / 2 - 1], concentration)
    length = bessel[0] / bessel[1]
    assert q.length[0, 0] == pytest.approx(length, rel=1e-5)
    assert np.linalg.norm(z.mean(axis=0)) == pytest.approx(length, abs=error)
    np.testing.assert_allclose(q.variance[0], z.var(axis=0), rtol=0.1)
    prior = parts.hyperspherical_vae.UniformOnSphere(jnp.zeros((n, dim)))
    log_ratio = np.asarray(q.log_prob(jnp.asarray(z)) - prior.log_prob(z))
    kl = float(vaejax.distributions.kl(q, prior, None)[0])
    assert kl == pytest.approx(log_ratio.mean(), abs=5 * float(log_ratio.std()) / n**0.5)


@pytest.mark.parametrize(("dim", "concentration"), [(2, 1.0), (3, 8.0), (16, 40.0)])
def test_the_gradient_of_a_sample_is_that_of_its_expectation(parts, dim, concentration):
    n = 20_000
    q, _ = posterior(parts, dim, concentration, n)

    @jax.jit
    def slopes(q, key):
        def cosine(k):
            sample = parts.von_mises_fisher.VonMisesFisher(q.direction, k).sample(key)
            return jnp.sum(sample * q.direction, axis=1)

        return jax.jvp(cosine, (q.concentration,), (jnp.ones_like(q.concentration),))[1]

    found = np.asarray(slopes(q, KEY))
    a = float(q.length[0, 0])
    exact = 1 - a * a - (dim - 1) / concentration * a
    assert found.mean() == pytest.approx(exact, abs=5 * float(found.std()) / n**0.5)


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


def test_laplace(parts):
    likelihood = parts.laplace.laplace(scale=0.3)
    loc = np.random.RandomState(0).randn(200, 8, 8, 2).astype(np.float32)
    p = likelihood.apply(jnp.asarray(loc))
    assert likelihood.width(2) == 2
    x = p.sample(KEY)
    expected = scipy.stats.laplace(loc, 0.3)
    np.testing.assert_allclose(p.log_prob(x), expected.logpdf(x), rtol=1e-4, atol=1e-4)
    assert scipy.stats.kstest(np.ravel((x - loc) / 0.3), "laplace").pvalue > 1e-3
    np.testing.assert_allclose(p.variance, expected.var(), rtol=1e-5)
    np.testing.assert_array_equal(p.mean, loc)


def test_rings(parts):
    def split(name, **options):
        return parts.rings.rings("12", load_options.LoadOptions("rings:12", name, **options))

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
        parts.rings.rings("big", load_options.LoadOptions("rings:big"))


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
            **{"mesh": None, "step": 0, "batch_size": 40, "seed": 0, "binarize": "none"},
        )
        return metric.compute(context)["nearest_class_accuracy"]

    assert accuracy(1.0) == 1.0
    assert accuracy(0.0) == pytest.approx(1 / 3, abs=0.15)  # the first class, whatever x is
    assert metric.requires(None, source) is None
    assert "no labels" in metric.requires(None, from_arrays({"vector": vector}))
