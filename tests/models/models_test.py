"""The autoencoder's functions and errors; the ELBO against a model whose likelihood is known.

The model is probabilistic PCA, x = Wz + μ + σε (Tipping & Bishop 1999): with linear networks a VAE
is exactly that, log p(x) is a Gaussian log-density, and log p(x) − ELBO is KL(q ‖ p(z | x)).
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from vaejax import distributions, families, losses, networks, quantizers
from vaejax.core import game
from vaejax.core.events import event
from vaejax.distributions.likelihoods import Likelihood, bernoulli, likelihood
from vaejax.latents import bottlenecks
from vaejax.models import autoencoder
from vaejax.networks import Network

KEY = jax.random.key(0)
SHAPE = (8, 8, 1)
X = jnp.asarray(np.random.RandomState(0).rand(5, *SHAPE), jnp.float32)
BOTTLENECKS = {
    "gaussian": lambda: bottlenecks.gaussian(3),
    "vector": lambda: quantizers.bottleneck(quantizers.vector(16, 3)),
}
every_bottleneck = pytest.mark.parametrize("name", BOTTLENECKS)


def model_of(name, p=None):
    p, bottleneck = p or bernoulli(), BOTTLENECKS[name]()
    network = networks.build({"kind": "mlp", "hidden": (8,)}, SHAPE, bottleneck.width, p.width(1))
    encoder, decoder = network
    return autoencoder(encoder, bottleneck, decoder, p, SHAPE)


def params_of(model):
    return jax.jit(model.init)(KEY, {"image": X})


def test_event_returns_the_event_array_of_a_batch():
    assert event({"label": 0, "image": 1}) == 1
    assert event({"vector": 2}) == 2
    assert event({"sequence": 3}) == 3
    with pytest.raises(ValueError, match=r"one of image, .*, tokens, found \['label', 'picture'"):
        event({"label": 0, "picture": 1})


@every_bottleneck
def test_shapes(name):
    model = model_of(name)
    params = params_of(model)
    assert set(params) == {"encoder", "decoder"} | ({"codebook"} if name == "vector" else set())
    (node,) = jax.eval_shape(model.encode, params, {"image": X}, KEY)
    assert node.z.shape == (5, 3)
    new = jax.eval_shape(lambda p: model.generate(p, KEY, 7, None, 1.0), params)
    assert new.logits.shape == (7, *SHAPE)

    @jax.jit
    def both(params, x, key):
        trace = model.forward(params, {"image": x}, key, jnp.int32(3))
        return trace, model.decode(params, (trace.latents[0].z,), None).logits

    trace, logits = both(params, X, KEY)
    np.testing.assert_array_equal(trace.x, X)
    assert trace.step == 3
    assert trace.generated is None
    assert trace.latents[0].z.shape == (5, 3)
    assert logits.shape == (5, *SHAPE)
    np.testing.assert_array_equal(trace.likelihood.logits, logits)


@every_bottleneck
def test_an_event_of_another_shape_is_rejected_with_both_shapes(name):
    model = model_of(name)
    params = jax.eval_shape(model.init, KEY, {"image": X})
    with pytest.raises(ValueError, match=r"shape \[B, 8, 8, 1\], found \[5, 8, 7, 1\]"):
        jax.eval_shape(model.forward, params, {"image": X[:, :, :7]}, KEY, jnp.int32(0))


def test_an_encoder_of_another_width_is_rejected():
    encoder, decoder = networks.build({"kind": "mlp", "hidden": (8,)}, SHAPE, 5, 1)
    model = autoencoder(encoder, bottlenecks.gaussian(3), decoder, bernoulli(), SHAPE)
    with pytest.raises(AssertionError, match=r"(?s)'6'.*'5'"):
        jax.eval_shape(model.init, KEY, {"image": X})


def test_temperature_scales_the_samples():
    model = model_of("gaussian")
    params = params_of(model)
    generate = jax.jit(lambda key, t: model.generate(params, key, 4, None, t).logits)
    cold = generate(KEY, 0.0)
    np.testing.assert_array_equal(cold, generate(jax.random.key(1), 0.0))
    np.testing.assert_array_equal(cold, np.broadcast_to(cold[:1], cold.shape))
    warm = generate(KEY, 1.0)
    assert np.any(warm != generate(jax.random.key(1), 1.0))
    assert np.any(warm[0] != warm[1])


def test_samples_of_a_codebook_are_decoded_codes():
    model = model_of("vector")
    params = params_of(model)
    decode = jax.jit(lambda p: model.decode(p, (p["codebook"],), None).logits.reshape(16, -1))
    sample = jax.jit(lambda p: model.generate(p, KEY, 20, None, 1.0).logits.reshape(20, -1))
    every, sampled = decode(params), sample(params)
    distance = np.abs(np.asarray(sampled)[:, None] - np.asarray(every)).max(-1)
    assert distance.min(1).max() < 1e-5
    assert len(set(distance.argmin(1))) > 4


def test_a_custom_likelihood():
    """A Gaussian with a predicted scale: twice the channels."""

    def apply(features):
        loc, raw = jnp.split(features, 2, axis=-1)
        return distributions.Normal(loc, jax.nn.softplus(raw) + 0.1)

    custom = Likelihood(lambda channels: 2 * channels, apply)
    players = {"vae": ({"nll": 1.0, "kl": 1.0}, optax.sgd(0.1))}
    network = {"kind": "mlp", "hidden": (8,)}
    family = families.beta_vae(SHAPE, players, network=network, likelihood=custom)
    params = jax.jit(lambda: game.init(family, KEY, {"image": X}))()
    losses_fn = jax.jit(game.losses_and_trace(family))
    values, trace = losses_fn(params, {"image": X}, KEY, jnp.int32(0))
    p = trace.likelihood
    want = -scipy.stats.norm.logpdf(X, p.loc, p.scale).sum((1, 2, 3))
    np.testing.assert_allclose(values["nll"], want, rtol=1e-5)
    assert len(np.unique(p.scale)) > 10


D, SIGMA = 5, 0.7
W = np.linalg.qr(np.random.RandomState(3).randn(D, 2))[0] * [1.5, 0.6]  # orthogonal columns
MEAN = np.linspace(-1, 1, D)
POINTS = np.random.RandomState(4).randn(4, D) * 1.2
SAMPLES = 2**20  # per point


def ppca():
    """Exact log p(x), and the mean and standard deviation of p(z | x), which is diagonal here."""
    cov = W @ W.T + SIGMA**2 * np.eye(D)
    log_p = scipy.stats.multivariate_normal(MEAN, cov).logpdf(POINTS)
    precision = np.diag(W.T @ W) / SIGMA**2 + 1
    return log_p, (POINTS - MEAN) @ W / SIGMA**2 / precision, 1 / np.sqrt(precision)


def linear_vae_elbo(to_loc, bias, std):
    """Mean and standard error over many samples of the library's ELBO at each point."""

    def encode(params, x):
        loc = x @ params["w"] + params["b"][None]
        return jnp.concatenate([loc, jnp.broadcast_to(2 * jnp.log(params["s"]), loc.shape)], -1)

    encoder = Network(lambda key, x: {}, encode)
    decoder = Network(lambda key, z: {}, lambda p, z: z @ p["w"] + p["b"][None])
    p = likelihood({"kind": "normal", "scale": SIGMA})
    model = autoencoder(encoder, bottlenecks.gaussian(2), decoder, p, (D,))
    params = {"encoder": {"w": to_loc, "b": bias, "s": std}, "decoder": {"w": W.T, "b": MEAN}}
    params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params)
    family = game.Family(model, game.chain(losses.nll(), losses.kl()), {})
    losses_fn = game.losses_and_trace(family)
    per_call = 2**14
    x = jnp.asarray(np.repeat(POINTS, per_call, axis=0), jnp.float32)

    @jax.jit
    def moments(seed):
        values, _ = losses_fn(params, {"vector": x}, jax.random.key(seed), jnp.int32(0))
        elbo = -(values["nll"] + values["kl"].sum(1)).reshape(len(POINTS), per_call)
        return elbo.mean(1), elbo.var(1)

    batches = [moments(seed) for seed in range(SAMPLES // per_call)]
    mean, var = (np.asarray(a, np.float64).mean(0) for a in zip(*batches, strict=True))
    return mean, np.sqrt(var / SAMPLES)


def test_the_elbo_is_the_log_likelihood_at_the_known_optimum():
    log_p, _, std = ppca()
    to_loc = W / SIGMA**2 * std**2
    elbo, error = linear_vae_elbo(to_loc, -MEAN @ to_loc, std)
    assert (np.abs(elbo - log_p) < 4 * error).all()
    assert abs(elbo.mean() - log_p.mean()) < 1e-3


@pytest.mark.parametrize("seed", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in (1, 2))])
def test_the_elbo_is_below_the_log_likelihood_by_the_divergence_from_the_posterior(seed):
    rng = np.random.RandomState(seed)
    log_p, loc, std = ppca()
    to_loc, bias, q_std = 0.3 * rng.randn(D, 2), 0.3 * rng.randn(2), np.exp(0.5 * rng.randn(2))
    elbo, error = linear_vae_elbo(to_loc, bias, q_std)
    q_loc = POINTS @ to_loc + bias
    gap = np.log(std / q_std) + (q_std**2 + (q_loc - loc) ** 2) / (2 * std**2) - 0.5
    assert (elbo < log_p).all()
    assert (np.abs(log_p - gap.sum(1) - elbo) < 4 * error + 1e-5 * np.abs(elbo)).all()
