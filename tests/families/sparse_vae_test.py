"""Variational sparse coding: the prior of pseudo-inputs, likelihood, sparsity."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from vaejax import distributions, families, losses
from vaejax.core import game
from vaejax.core.game import Latent, Trace
from vaejax.distributions.spike_and_slab import SpikeAndSlab
from vaejax.evaluation.likelihood import log_likelihood
from vaejax.latents.priors import latent_prior
from vaejax.latents.pseudo_input_prior import linear_classifier, pseudo_inputs
from vaejax.training.train_step import init_state, make_step

KEY = jax.random.key(0)


def make(loc, scale, active, sharpness=200.0, relaxed=True):
    loc, scale, active = (jnp.asarray(a, jnp.float32) for a in (loc, scale, active))
    c = jnp.full(loc.shape, sharpness)
    return SpikeAndSlab(loc, scale, jnp.log(active), c, relaxed)


def random_density(seed, *shape):
    r = np.random.RandomState(seed)
    return make(r.randn(*shape), 0.3 + r.rand(*shape), 0.05 + 0.9 * r.rand(*shape))


def parts(q):
    loc, scale, log_active = (np.asarray(a, np.float64) for a in (q.loc, q.scale, q.log_active))
    return loc, scale, np.exp(log_active)


def numpy_kl(q, p):
    (m, s, g), (mu, su, gu) = parts(q), parts(p)
    slab = np.log(su / s) + (s**2 + (m - mu) ** 2) / (2 * su**2) - 0.5
    return g * slab + (1 - g) * np.log((1 - g) / (1 - gu)) + g * np.log(g / gu)


MLP = {"kind": "mlp", "hidden": (16,)}
SHAPE = (4, 4, 1)


def sparse_vae(minimizes, **options):
    players = {"vae": (minimizes, optax.adam(3e-3))}
    return families.sparse_vae(SHAPE, players, latent_dim=6, network=MLP, **options)


def init(family, batch):
    return jax.jit(lambda batch: game.init(family, KEY, batch))(batch)


def bars(n, seed=0):
    """Images of four horizontal bars, each present with probability 0.4."""
    on = np.random.RandomState(seed).rand(n, 4) < 0.4
    return {"image": np.broadcast_to(on[:, :, None, None], (n, *SHAPE)).astype(np.float32)}


@pytest.mark.parametrize("classifier", ["linear", None])
def test_the_prior_is_a_mixture_of_posteriors_weighted_by_the_classifier(classifier):
    prior = {"kind": "pseudo_inputs", "count": 3, "classifier": classifier}
    family = sparse_vae({"nll": 1.0, "kl": 1.0, "sparsity_kl": 1.0}, prior=prior, alpha=0.1)
    batch, step = bars(7), jnp.int32(0)
    params = init(family, batch)
    losses_fn = jax.jit(game.losses_and_trace(family))
    values, trace = losses_fn(params, batch, KEY, step)
    q, p, _ = trace.latents[0]
    inputs = jax.nn.sigmoid(params["prior"]["inputs"])
    components = jax.jit(family.model.encode)(params, {"image": inputs}, KEY)[0].posterior
    mixture = p.mixture if classifier else p
    want = numpy_kl_matrix(q, components)  # [B, U]
    for field in ("loc", "scale", "log_active"):
        a, b = getattr(mixture.components, field), getattr(components, field)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    if classifier:
        c = params["prior"]["classifier"]
        x = batch["image"].reshape(7, -1)
        logits = x @ np.asarray(c["kernel"], np.float64) + np.asarray(c["bias"])
    else:
        logits = -want
    w = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    kl = (w * (want + np.log(3 * w))).sum(axis=1)
    np.testing.assert_allclose(values["kl"][:, 0], kl, rtol=1e-4)
    mean = parts(components)[2].mean(axis=1)
    each = 6 * (mean * np.log(mean / 0.1) + (1 - mean) * np.log((1 - mean) / 0.9))
    weights = w if classifier else np.full((7, 3), 1 / 3)
    np.testing.assert_allclose(values["sparsity_kl"], weights @ each, rtol=1e-4)


def numpy_kl_matrix(q, p):
    rows = range(len(q.loc)), range(len(p.loc))

    def row(d, i):
        return jax.tree.map(lambda a: np.asarray(a)[i], d)

    return np.array([[numpy_kl(row(q, b), row(p, u)).sum() for u in rows[1]] for b in rows[0]])


def test_samples_of_the_prior_have_the_sparsity_of_the_mixture():
    prior = pseudo_inputs(SHAPE, count=3)
    family = sparse_vae({"nll": 1.0, "kl": 1.0, "sparsity_kl": 1.0}, prior=prior, relaxed=False)
    params = init(family, bars(7))
    inputs = {"image": jax.nn.sigmoid(params["prior"]["inputs"])}
    components = jax.jit(family.model.encode)(params, inputs, KEY)[0].posterior
    mixture = prior.apply(params, (20_000, 6), None, lambda params, x: components)
    z = np.asarray(jax.jit(distributions.sample_with_temperature)(mixture, KEY))
    g = parts(components)[2].mean(axis=0)
    np.testing.assert_array_less(np.abs((z != 0).mean(0) - g), 4 * np.sqrt(g * (1 - g) / 20_000))
    generate = jax.jit(family.model.generate, static_argnums=2)
    assert generate(params, KEY, 5).mean.shape == (5, *SHAPE)


def test_linear_classifier_and_invalid_arguments():
    x = jnp.asarray(np.random.RandomState(0).rand(3, 2, 2), jnp.float32)
    network = linear_classifier(4)
    params = network.init(KEY, x)
    want = np.asarray(x).reshape(3, 4) @ np.asarray(params["kernel"]) + np.asarray(params["bias"])
    np.testing.assert_allclose(network.apply(params, x), want, rtol=1e-5, atol=1e-6)
    assert latent_prior({"kind": "pseudo_inputs", "count": 2}, SHAPE).for_events is not None
    with pytest.raises(ValueError, match="at least one"):
        pseudo_inputs(SHAPE, count=0)
    with pytest.raises(ValueError, match="'linear' or None"):
        pseudo_inputs(SHAPE, classifier="mlp")
    q = random_density(0, 2, 3)
    trace = Trace(jnp.zeros((2, 3)), None, (Latent(q, q, q.loc),))
    with pytest.raises(ValueError, match=r"'sparsity_kl' needs a prior .*'pseudo_inputs'"):
        losses.sparsity_kl(0.1).apply({}, {}, trace, KEY)


@pytest.mark.parametrize(
    "prior",
    [pytest.param("standard", marks=pytest.mark.slow), {"kind": "pseudo_inputs", "count": 3}],
)
def test_importance_sampled_likelihood_is_the_integral(prior):
    players = {"vae": ({"nll": 1.0, "kl": 1.0}, optax.adam(3e-3))}
    family = families.sparse_vae(
        SHAPE, players, latent_dim=1, alpha=0.3, network=MLP, prior=prior
    )  # fmt: skip
    batch = bars(5)
    params = init(family, batch)
    params["decoder"] = jax.tree.map(lambda a: 3 * a, params["decoder"])
    # γ = e⁻¹ for all: with γ = 1 no sample of q would be zero, unlike samples of the prior.
    last = params["encoder"]["Dense_1"]
    last["kernel"] = last["kernel"].at[:, 2].set(0.0)
    last["bias"] = last["bias"].at[2].set(-1.0)
    grid = np.linspace(-9, 9, 4001, dtype=np.float32)[:, None]

    @jax.jit
    def log_p_of_pixels(z):
        p = family.model.decode(params, (z,), None)
        return jax.vmap(lambda x: p.log_prob(x[None]))(batch["image"])

    def log_p_x(z):  # [Z, B]
        return np.asarray(log_p_of_pixels(z), np.float64).sum(axis=(2, 3, 4)).T

    if prior == "standard":
        parts_of_prior = [(1.0, 0.0, 1.0, 0.3)]
    else:
        inputs = {"image": jax.nn.sigmoid(params["prior"]["inputs"])}
        components = parts(jax.jit(family.model.encode)(params, inputs, KEY)[0].posterior)
        parts_of_prior = [(1 / 3, *(float(a[u, 0]) for a in components)) for u in range(3)]
    want = 0.0
    for weight, loc, scale, active in parts_of_prior:
        density = stats.norm(loc, scale).pdf(grid) * (grid[1] - grid[0])
        slab = (density * np.exp(log_p_x(grid))).sum(axis=0)
        spike = np.exp(log_p_x(np.zeros((1, 1), np.float32)))[0]
        want = want + weight * (active * slab + (1 - active) * spike)
    got = log_likelihood(family.model, samples=20_000, chunk=2000)(params, batch, KEY)
    np.testing.assert_allclose(got, np.log(want), atol=0.02)


def active_fraction(alpha, steps=200):
    family = sparse_vae({"nll": 1.0, "kl": 1.0}, alpha=alpha)
    state = jax.jit(lambda b: init_state(family, 0, b))(bars(64))
    step = jax.jit(make_step(family))
    for i in range(steps):
        state, metrics, ok = step(state, bars(64, i), 0)
        assert ok
    return float(metrics["active_fraction"]), float(metrics["nll"])


@pytest.mark.slow
def test_fewer_latents_are_active_under_a_sparser_prior():
    few, nll_few = active_fraction(0.01)
    many, nll_many = active_fraction(0.5)
    assert few < 0.7 * many
    assert nll_few < 11.09  # 16 log 2, that of a uniform prediction
    assert nll_many < 11.09
