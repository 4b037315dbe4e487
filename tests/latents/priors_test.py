"""Mixtures against SciPy and quadrature, VampPriors against their definition, both in a VAE."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats

from vaejax import distributions, families
from vaejax.core import game
from vaejax.core.game import Latent
from vaejax.distributions import Mixture, Normal
from vaejax.latents import priors
from vaejax.losses import node_kl

KEY = jax.random.key(0)
LOGITS = np.array([0.5, -1.0, 1.0])
LOC, SCALE = np.array([-3.0, 0.0, 2.0]), np.array([0.3, 1.0, 0.6])
WEIGHTS = scipy.special.softmax(LOGITS)


def line(count):
    """A mixture of one-dimensional Gaussians, for `count` latents."""
    components = Normal(*(jnp.asarray(a[:, None], jnp.float32) for a in (LOC, SCALE)))
    return Mixture(jnp.asarray(LOGITS, jnp.float32), components, count)


@jax.jit
def sample(p, key):
    return p.sample(key)


@jax.jit
def sample_with_temperature(p, key, temperature):
    return distributions.sample_with_temperature(p, key, temperature)


def cdf(x):
    return sum(w * scipy.stats.norm.cdf(x, m, s) for w, m, s in zip(WEIGHTS, LOC, SCALE))  # noqa: B905


@pytest.mark.parametrize("event", [(2,), (2, 3, 4)])
def test_log_prob_is_scipys_sum_and_reduces_the_axes_of_the_event(event):
    rng = np.random.RandomState(0)
    loc, scale = rng.randn(3, *event), rng.rand(3, *event) + 0.5
    p = Mixture(
        jnp.asarray(LOGITS, jnp.float32),
        Normal(jnp.asarray(loc, jnp.float32), jnp.asarray(scale, jnp.float32)),
        5,
    )
    x = np.asarray(sample(p, KEY), np.float64)
    assert x.shape == jax.eval_shape(lambda p: p.mean, p).shape == (5, *event)
    log_p = scipy.stats.norm.logpdf(x[:, None], loc[None], scale[None]).reshape(5, 3, -1).sum(2)
    want = scipy.special.logsumexp(log_p, b=WEIGHTS[None], axis=1)
    log_prob, mean = jax.jit(lambda p, x: (p.log_prob(x), p.mean))(p, np.float32(x))
    np.testing.assert_allclose(log_prob, want, rtol=1e-5)
    np.testing.assert_allclose(mean[3], np.tensordot(WEIGHTS, loc, 1), rtol=1e-5)


def test_samples_follow_the_distribution():
    p = line(20_000)
    x = np.asarray(sample(p, KEY))[:, 0]
    assert scipy.stats.kstest(x, cdf).pvalue > 0.01
    assert abs(x.mean() - float(p.mean[0, 0])) < 4 * x.std() / np.sqrt(len(x))


def test_temperature_shrinks_each_component_toward_its_own_mean():
    p = line(20_000)
    x = np.asarray(sample_with_temperature(p, KEY, 0.0))[:, 0]
    values, counts = np.unique(x, return_counts=True)
    np.testing.assert_allclose(values, LOC)
    np.testing.assert_allclose(counts / len(x), WEIGHTS, atol=0.01)
    x = np.asarray(sample_with_temperature(p, KEY, np.float32(0.1)))[:, 0]
    right = x[x > 1.2]
    np.testing.assert_allclose(right.std(), 0.1 * SCALE[2], rtol=0.05)
    q = Normal(jnp.full((20_000,), 3.0), jnp.full((20_000,), 2.0))
    np.testing.assert_allclose(np.std(sample_with_temperature(q, KEY, 0.5)), 1.0, rtol=0.03)


def test_the_one_sample_estimate_of_the_kl_is_unbiased():
    """Against the integral of q log q/p."""
    m, s = 1.0, 0.7
    q = Normal(jnp.full((50_000, 1), m), jnp.full((50_000, 1), s))
    estimate = jax.jit(lambda q, p: node_kl(Latent(q, p, q.sample(KEY))))
    estimates = np.asarray(estimate(q, line(50_000)), np.float64)
    x = np.linspace(m - 10 * s, m + 10 * s, 20_001)
    density = scipy.stats.norm.pdf(x, m, s)
    p = sum(w * scipy.stats.norm.pdf(x, a, b) for w, a, b in zip(WEIGHTS, LOC, SCALE))  # noqa: B905
    log_ratio = scipy.stats.norm.logpdf(x, m, s) - np.log(p)
    want = (density * log_ratio).sum() * (x[1] - x[0])
    error = estimates.std() / np.sqrt(len(estimates))
    assert abs(estimates.mean() - want) < 4 * error


def test_a_mixture_prior_is_initially_broad_and_every_parameter_has_a_gradient():
    prior = priors.mixture(4)
    params = prior.init(KEY, jnp.zeros((7, 2, 3)), None)
    assert set(params) == {"prior"}
    p = prior.apply(params, (7, 2, 3), None, None)
    assert sample(p, KEY).shape == (7, 2, 3)
    np.testing.assert_array_equal(p.components.scale, np.ones((4, 2, 3)))
    assert float(p.components.loc.std()) > 0.5
    z = jax.random.normal(KEY, (7, 2, 3))
    grads = jax.jit(jax.grad(lambda g: prior.apply(g, z.shape, None, None).log_prob(z).sum()))(
        params
    )
    assert all(np.any(leaf) for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("squash", [True, False])
def test_a_vamp_prior_is_the_mixture_of_the_posteriors_of_its_pseudo_inputs(squash):
    prior = priors.vamp(5, (4,), squash=squash)
    params = prior.init(KEY, jnp.zeros((7, 2)), None) | {"encoder": jnp.ones((4, 4)) / 3}

    def encode(params, x):
        return Normal.from_features(x @ params["encoder"])

    z = jax.random.normal(KEY, (7, 2))
    got = jax.jit(lambda params, z: prior.apply(params, z.shape, None, encode).log_prob(z))(
        params, z
    )
    u = np.asarray(params["prior"], np.float64)
    u = scipy.special.expit(u) if squash else u
    loc, log_variance = np.split(u @ np.full((4, 4), 1 / 3), 2, axis=1)
    log_p = scipy.stats.norm.logpdf(np.asarray(z)[:, None], loc, np.exp(log_variance / 2)).sum(2)
    want = scipy.special.logsumexp(log_p, axis=1) - np.log(5)
    np.testing.assert_allclose(got, want, rtol=1e-4)
    grads = jax.jit(jax.grad(lambda g: prior.apply(g, z.shape, None, encode).log_prob(z).sum()))(
        params
    )
    assert np.any(grads["prior"])
    assert np.any(grads["encoder"])


SHAPE = (4, 4, 1)
SETTINGS = {
    "mixture": {"kind": "mixture", "components": 3},
    "vamp": {"kind": "vamp", "pseudo_inputs": 3},
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_vae_trains_its_prior_and_generates_from_it_at_any_temperature(kind):
    players = {"vae": ({"nll": 1.0, "kl": 1.0}, optax.sgd(1.0))}
    family = families.beta_vae(
        SHAPE,
        players,
        latent_dim=2,
        network={"kind": "mlp", "hidden": (8,)},
        prior=SETTINGS[kind],
    )
    batch = {"image": jnp.asarray(np.random.RandomState(0).rand(6, *SHAPE), jnp.float32)}
    params = jax.jit(lambda: game.init(family, KEY, batch))()
    assert set(params) == {"encoder", "decoder", "prior"}
    step = jnp.int32(0)
    gradient = game.game_gradient(game.losses_and_trace(family), family.players)
    grads, named, trace = jax.jit(gradient)(params, step, batch, KEY, step)
    ((q, p, z),) = trace.latents
    assert isinstance(p, Mixture)
    want = scipy.stats.norm.logpdf(z, q.loc, q.scale).sum(1) - np.asarray(p.log_prob(z))
    np.testing.assert_allclose(named["kl"][:, 0], want, rtol=1e-4, atol=1e-5)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(grads["prior"]))

    generate = jax.jit(family.model.generate, static_argnums=2)
    cold, warm = (generate(params, KEY, 50, None, jnp.float32(t)).mean for t in (0.0, 1.0))
    assert cold.shape == warm.shape == (50, *SHAPE)
    assert len(np.unique(np.asarray(cold).reshape(50, -1).round(5), axis=0)) <= 3
    assert len(np.unique(np.asarray(warm).reshape(50, -1).round(5), axis=0)) == 50


def test_priors_by_name():
    assert priors.latent_prior("standard", SHAPE) is None
    prior = priors.mixture(2)
    assert priors.latent_prior(prior, SHAPE) is prior
    with pytest.raises(ValueError, match=r"unknown prior 'mixtur'.*did you mean 'mixture'"):
        priors.latent_prior("mixtur", SHAPE)
    with pytest.raises(ValueError, match=r"prior 'vamp' has no setting 'inputs'"):
        priors.latent_prior({"kind": "vamp", "inputs": 3}, SHAPE)
    for build in (priors.mixture, lambda n: priors.vamp(n, SHAPE)):
        with pytest.raises(ValueError, match=r"at least one .* found 0"):
            build(0)
