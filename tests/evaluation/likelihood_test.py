"""Importance sampling against the exact log p(x) of linear Gaussian models."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from benchmarks.numpy_vae import likelihood_noise, numpy_log_likelihood
from vaejax import losses
from vaejax.core import game
from vaejax.core.game import Family, Latent, Model
from vaejax.core.sharding import make_mesh
from vaejax.data import Source
from vaejax.data.batches import eval_order
from vaejax.distributions import Bernoulli, Normal, OneHotCodes, Uniform
from vaejax.distributions.likelihoods import Likelihood
from vaejax.evaluation import EvaluationContext
from vaejax.evaluation.evaluate import evaluator
from vaejax.evaluation.likelihood import importance_sampled, log_likelihood
from vaejax.families import beta_vae
from vaejax.latents.bottlenecks import gaussian
from vaejax.models import autoencoder
from vaejax.networks import Network

KEY = jax.random.key(0)
NOISE = 0.5
W = np.array([[1.0, 0.3], [-0.4, 0.8], [0.2, 0.5]])
X = np.random.RandomState(0).randn(10, 3).astype(np.float32)
BATCH = {"vector": jnp.asarray(X)}


def linear_gaussian(samples=1):
    """x = W z + noise; q(z | x) has the posterior's mean and four times its variance."""
    precision = W.T @ W / NOISE**2 + np.eye(2)
    kernel = np.concatenate([W @ np.linalg.inv(precision) / NOISE**2, np.zeros((3, 2))], axis=1)
    log_variance = np.log(4 * np.diag(np.linalg.inv(precision)))
    kernel, bias = (jnp.asarray(a, jnp.float32) for a in (kernel, [0.0, 0.0, *log_variance]))
    encoder = Network(lambda key, x: (), lambda params, x: x @ kernel + bias[None])
    decoder = Network(lambda key, z: (), lambda params, z: z @ jnp.asarray(W.T, jnp.float32))
    likelihood = Likelihood(lambda c: c, lambda f: Normal(f, jnp.full_like(f, NOISE)))
    return autoencoder(encoder, gaussian(2), decoder, likelihood, (3,), samples=samples)


def exact(x=X):
    covariance = W @ W.T + NOISE**2 * np.eye(3)
    return scipy.stats.multivariate_normal.logpdf(x, np.zeros(3), covariance)


def test_many_samples_give_the_exact_likelihood():
    model = linear_gaussian()
    params = model.init(KEY, BATCH)
    keys = jax.random.split(KEY, 20)
    estimate = log_likelihood(model, 2000, chunk=100)
    got = np.asarray([estimate(params, BATCH, key) for key in keys], np.float64)
    error = got.std(0) / np.sqrt(len(keys))
    assert (error < 0.02).all()
    assert (np.abs(got.mean(0) - exact()) < 4.5 * error + 1e-3).all()
    rough = log_likelihood(model, 1)(params, BATCH, KEY)
    assert np.abs(np.asarray(rough) - exact()).max() > 0.3


def test_a_vae_of_images_against_numpy_in_float64():
    """A small version of `python -m benchmarks.likelihood`, with large weights."""
    network = {"kind": "mlp", "hidden": (20, 20), "activation": "tanh"}
    players = {"vae": ({"nll": 1.0, "kl": 1.0}, optax.adam(1e-3))}
    model = beta_vae((28, 28, 1), players, latent_dim=5, network=network).model
    x = np.random.RandomState(0).rand(8, 28, 28, 1) < 0.3
    batch = {"image": jnp.asarray(x, jnp.float32)}
    params = jax.jit(lambda batch: jax.tree.map(lambda a: 2.0 * a, model.init(KEY, batch)))(batch)
    got = log_likelihood(model, 300, chunk=20)(params, batch, KEY)
    want = numpy_log_likelihood(params, x, likelihood_noise(KEY, 300, (8, 5)))
    np.testing.assert_allclose(got, want, atol=1e-3)
    assert want.std() > 1
    other = numpy_log_likelihood(params, x, likelihood_noise(jax.random.key(1), 300, (8, 5)))
    assert np.abs(want - other).max() > 0.1  # the test is sensitive to the noise


@pytest.mark.parametrize("chunk", [1, 7, 50, 1000])
def test_result_does_not_depend_on_the_chunk_size(chunk):
    model = linear_gaussian()
    params = model.init(KEY, BATCH)
    got, want = (log_likelihood(model, 60, c)(params, BATCH, KEY) for c in (chunk, 60))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_memory_is_that_of_a_chunk():
    model = linear_gaussian()
    params, batch = model.init(KEY, BATCH), {"vector": jax.ShapeDtypeStruct((100, 3), jnp.float32)}

    def temporary(samples, chunk):
        compiled = log_likelihood(model, samples, chunk).lower(params, batch, KEY).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(5000, 50) < 1.5 * temporary(50, 50) < 0.1 * temporary(5000, 5000)


def two_nodes():
    """x = z_1 + z_2 + noise, each node sampled from a rough posterior of its own."""

    def encode(params, batch, key):
        x = batch["vector"]
        loc = jnp.full_like(x, 0.4) * x
        latents = []
        for k in jax.random.split(key, 2):
            q = Normal(loc, jnp.ones_like(x))
            latents.append(Latent(q, Normal(jnp.zeros_like(x), jnp.ones_like(x)), q.sample(k)))
        return tuple(latents)

    def decode(params, zs, condition=None):
        return Normal(zs[0] + zs[1], jnp.full_like(zs[0], NOISE))

    return Model(lambda key, batch: {}, None, encode, decode, None)


def test_likelihood_of_a_model_with_two_nodes():
    keys = jax.random.split(KEY, 20)
    estimate = log_likelihood(two_nodes(), 1000)
    got = np.asarray([estimate({}, BATCH, key) for key in keys], np.float64)
    want = scipy.stats.norm.logpdf(X, 0, np.sqrt(2 + NOISE**2)).sum(1)
    error = got.std(0) / np.sqrt(len(keys))
    # The bias of the estimate is about −variance / 2.
    assert (np.abs(got.mean(0) - want) < 4.5 * error + got.var(0)).all()


def source(examples):
    rows = {"vector": X[:examples]}

    def take(indices):
        return {"vector": rows["vector"][indices]}

    return Source("made up", "eval", examples, take, rows, lambda rows: dict(rows))


@pytest.mark.parametrize(("examples", "batch", "mesh"), [(0, 4, None), (7, 4, None), (0, 16, 8)])
def test_mean_over_a_split_counts_each_example_once(examples, batch, mesh):
    model = linear_gaussian()
    family = Family(model, losses.nll(), {})
    context = EvaluationContext(
        family, model.init(KEY, BATCH), source(10), make_mesh(mesh or 1), batch_size=batch
    )
    got = importance_sampled(context, 4000, examples=examples, chunk=400)
    np.testing.assert_allclose(got, exact(X[eval_order(10)[: examples or 10]]).mean(), atol=0.02)
    assert abs(exact(X[:7]).mean() - exact().mean()) > 0.05


def test_evaluator_counts_each_example_once_for_several_samples():
    model = linear_gaussian(samples=200)
    family = Family(model, game.chain(losses.nll(), losses.kl(), losses.iwae(200)), {})
    evaluate = evaluator(family, source(10), make_mesh(1), batch_size=4)
    got = evaluate(model.init(KEY, BATCH), 0)
    np.testing.assert_allclose(-got["iwae"], exact().mean(), atol=0.05)
    single = linear_gaussian(samples=1)
    latent = single.encode(single.init(KEY, BATCH), BATCH, KEY)[0]
    mean, variance = np.asarray(latent.posterior.loc) @ W.T, np.asarray(latent.posterior.scale) ** 2
    squares = ((X - mean) ** 2).sum(1) + (variance @ (W.T**2)).sum(1)
    nll = squares / (2 * NOISE**2) + 3 * np.log(NOISE * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(got["nll"], nll.mean(), rtol=0.03)
    assert got["active_units"] == 2


def test_invalid_arguments_are_reported():
    for samples, chunk in ((0, 50), (10, 0)):
        with pytest.raises(ValueError, match="at least one sample"):
            log_likelihood(two_nodes(), samples, chunk)

    def encode(params, batch, key):
        codes = OneHotCodes(jnp.zeros((10, 2)), jnp.zeros((10, 2)), jnp.zeros(10, jnp.int32), 8)
        return (Latent(codes, Uniform(8, (10,)), codes.codes),)

    model = Model(None, None, encode, lambda *_: Bernoulli(jnp.zeros((10, 3))), None)
    with pytest.raises(ValueError, match="needs a posterior with a density"):
        log_likelihood(model, 2)({}, BATCH, KEY)
