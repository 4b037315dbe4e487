"""Evaluation of a split against NumPy in float64, example by example, on simple networks."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax import families, losses
from vaejax.core.game import chain
from vaejax.core.sharding import make_mesh
from vaejax.data.batches import eval_order
from vaejax.data.readers.npz import from_arrays
from vaejax.evaluation.evaluate import evaluator
from vaejax.networks import Network
from vaejax.quantizers import lookup_free, vector

N = 23  # not divisible by any batch below
SCALE = np.array([1.0, 0.5, 0.05, 0.0])  # of the posterior means: two active units
CODEBOOK = np.array([[-1.0, 0, 0, 0], [1.0, 0, 0, 0], [0, 9.0, 9, 9], [0, 3.0, 0, 0], [9, 9, 9, 9]])


@pytest.fixture(scope="module")
def x():
    return np.random.RandomState(0).standard_normal((N, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def source(x):
    return from_arrays(x, holdout=0)


def gaussian(log_variance):
    """q(z | x) = N(scale · x, exp(log_variance)), p(x | z) = N(z, 1)."""

    def encode(params, x):
        return jnp.concatenate([x * params[None], jnp.full_like(x, log_variance)], axis=-1)

    encoder = Network(lambda key, x: jnp.asarray(SCALE, jnp.float32), encode)
    decoder = Network(lambda key, z: {}, lambda params, z: z)
    players = {"vae": ({"nll": 1.0, "kl": 1.0}, optax.sgd(1.0))}
    family = families.beta_vae(
        (4,), players, latent_dim=4, network=(encoder, decoder), likelihood="normal"
    )
    return family, {"encoder": jnp.asarray(SCALE, jnp.float32), "decoder": {}}


def quantizer():
    """A VQ-VAE with identity networks and a fixed codebook; p(x | z) = N(z, 1)."""
    same = Network(lambda key, x: {}, lambda params, x: x)
    players = {"vae": ({"nll": 1.0}, optax.sgd(1.0)), "codebook": ({"vq": 1.0}, optax.sgd(1.0))}
    family = families.vqvae(
        (4,),
        players,
        quantizer=vector(5, 4),
        network=(same, same),
        likelihood="normal",
    )
    codebook = jnp.asarray(CODEBOOK, jnp.float32)
    return family, {"encoder": {}, "decoder": {}, "codebook": codebook}


def evaluate_model(model, source, batch_size=8, devices=1, limit=0, **options):
    family, params = model
    evaluate = evaluator(family, source, make_mesh(devices), batch_size=batch_size, **options)
    return evaluate(params, 5, limit)


@pytest.mark.parametrize("batch_size", [1, 8, 23, 64])
@pytest.mark.parametrize("limit", [0, 10, 1000])
def test_means_over_the_split(source, x, batch_size, limit):
    metrics = evaluate_model(
        gaussian(-30.0), source, batch_size, limit=limit
    )  # z is the mean, to 1e-6
    x = x.astype(np.float64)[eval_order(N)[: limit or N]]
    mean = SCALE * x
    nll = 0.5 * ((x - mean) ** 2 + np.log(2 * np.pi)).sum(axis=1)
    kl = 0.5 * (mean**2 + np.exp(-30.0) - 1 + 30.0).sum(axis=1)
    expected = {
        "nll": nll.mean(),
        "kl": kl.mean(),
        "kl/0": kl.mean(),
        "elbo": -(nll + kl).mean(),
        "mse": ((x - mean) ** 2).mean(),
        "active_units": float((mean.var(axis=0) > 0.01).sum()),
    }
    assert expected["active_units"] == 2
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=2e-6, err_msg=name)


@pytest.mark.parametrize("offset", [100.0, 1e4])
def test_active_units_do_not_depend_on_the_mean(offset):
    x = np.random.RandomState(1).standard_normal((N, 4)).astype(np.float32) + np.float32(offset)
    assert evaluate_model(gaussian(-30.0), from_arrays(x, holdout=0))["active_units"] == 2


def test_an_implicit_codebook_of_a_billion_codes():
    """Its perplexity is of the codes of all batches together."""
    signs = np.sign(np.random.RandomState(2).randn(5, 30))
    x = (signs[np.random.RandomState(3).randint(5, size=N)] * 0.5).astype(np.float32)
    same = Network(lambda key, x: {}, lambda params, x: x)
    players = {"vae": ({"nll": 1.0}, optax.sgd(1.0))}
    family = families.vqvae(
        (30,), players, quantizer=lookup_free(30), network=(same, same), likelihood="normal"
    )
    model = family, {"encoder": {}, "decoder": {}}
    counts = np.unique(x, axis=0, return_counts=True)[1]
    p = counts / N
    for batch_size in (5, 64):
        metrics = evaluate_model(model, from_arrays(x, holdout=0), batch_size)
        np.testing.assert_allclose(metrics["perplexity"], np.prod(p**-p), rtol=1e-6)
        np.testing.assert_allclose(metrics["codes_used"], len(counts) / 2**30, rtol=1e-6)


@pytest.mark.parametrize(("batch_size", "limit"), [(1, 0), (8, 0), (8, 6), (64, 0)])
def test_codes_over_the_split(source, x, batch_size, limit):
    metrics = evaluate_model(quantizer(), source, batch_size, limit=limit)
    x = x.astype(np.float64)[eval_order(N)[: limit or N]]
    distances = ((x[:, None] - CODEBOOK) ** 2).sum(axis=-1)
    used = np.unique(distances.argmin(axis=1))
    assert len(used) in (2, 3)
    np.testing.assert_allclose(metrics["codes_used"], len(used) / 5)
    np.testing.assert_allclose(metrics["vq"], distances.min(axis=1).mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["kl"], np.log(5), rtol=1e-6)
    assert "active_units" not in metrics


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_perplexity_is_of_the_whole_split(source, x, batch_size):
    metrics = evaluate_model(quantizer(), source, batch_size=batch_size)
    indices = ((x[:, None] - CODEBOOK) ** 2).sum(axis=-1).argmin(axis=1)
    p = np.bincount(indices, minlength=5) / N
    entropy = -(p[p > 0] * np.log(p[p > 0])).sum()
    np.testing.assert_allclose(metrics["perplexity"], np.exp(entropy), rtol=1e-6)


def test_a_statistic_of_the_batch_says_so_in_its_name(source):
    family, params = gaussian(-30.0)
    family = family._replace(losses=chain(losses.nll(), losses.kl(), losses.nll_optimal()))
    metrics = evaluate_model((family, params), source)
    assert "batch/nll_optimal" in metrics
    assert "nll_optimal" not in metrics


def test_evaluation_shuffles_sorted_examples():
    # Two constant classes, all of the first before all of the second.
    x = np.repeat(np.array([[-1.0], [1.0]], np.float32), 200, axis=0) * np.ones((1, 4), np.float32)

    def apply(losses, trace):
        return {"spread": trace.latents[0].z[:, 0].var()}

    family, params = gaussian(-30.0)
    family = family._replace(losses=chain(losses.nll(), losses.kl(), losses.stateless(apply)))
    metrics = evaluate_model((family, params), from_arrays(x, holdout=0), batch_size=40)
    np.testing.assert_allclose(metrics["spread"], 1.0, atol=0.05)
    part = evaluate_model((family, params), from_arrays(x, holdout=0), batch_size=40, limit=40)
    np.testing.assert_allclose(part["spread"], 1.0, atol=0.1)
    assert part["active_units"] == metrics["active_units"] == 2


def test_noise_depends_on_the_seed_alone(source):
    first, again = (evaluate_model(gaussian(0.0), source) for _ in range(2))
    assert first == again
    assert evaluate_model(gaussian(0.0), source, seed=1)["nll"] != first["nll"]


@pytest.mark.parametrize("make", [lambda: gaussian(0.0), quantizer])
def test_eight_devices_agree_with_one(source, make):
    single, eight = (evaluate_model(make(), source, devices=devices) for devices in (1, 8))
    assert single.keys() == eight.keys()
    for name, value in single.items():
        np.testing.assert_allclose(eight[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


def test_images_are_binarised():
    greys = from_arrays(np.full((N, 2, 2, 1), 77, np.uint8), holdout=0)
    same = Network(lambda key, x: {}, lambda params, x: x)
    players = {"vae": ({"nll": 1.0}, optax.sgd(1.0)), "codebook": ({"vq": 1.0}, optax.sgd(1.0))}
    family = families.vqvae(
        (2, 2, 1),
        players,
        quantizer=vector(1, 1),
        network=(same, same),
        likelihood="normal",
    )
    params = {"encoder": {}, "decoder": {}, "codebook": jnp.zeros((1, 1))}
    mse = {
        b: evaluate_model((family, params), greys, binarize=b)["mse"] for b in ("none", "threshold")
    }
    np.testing.assert_allclose(mse["none"], (77 / 255) ** 2, rtol=1e-5)
    assert mse["threshold"] == 0.0


def test_batch_size_must_be_divisible_by_the_mesh(source):
    with pytest.raises(ValueError, match=r"batch_size=12 .* by 8"):
        evaluator(gaussian(0.0)[0], source, make_mesh(8), batch_size=12)


def test_compiled_once(source):
    traced = []
    family, params = gaussian(0.0)
    forward = family.model.forward
    counting = family.model._replace(forward=lambda *a: (traced.append(1), forward(*a))[1])
    evaluate = evaluator(family._replace(model=counting), source, make_mesh(1), batch_size=8)
    evaluate(params, 1)
    evaluate(jax.tree.map(lambda a: a + 1, params), 2)
    assert len(traced) == 1
