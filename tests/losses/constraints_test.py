"""Free bits by hand, and GECO as a game: its gradients, and convergence to its target."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax import losses
from vaejax.core import game
from vaejax.core.game import Family, Latent, Model, Trace
from vaejax.distributions import Bernoulli, Mixture, Normal, OneHotCodes, Uniform

KEY = jax.random.key(0)


def node(*shape, seed=0):
    rng = np.random.RandomState(seed)
    loc, scale = rng.randn(*shape) * np.linspace(0.1, 2, shape[-1]), rng.rand(*shape) + 0.5
    q = Normal(jnp.asarray(loc, jnp.float32), jnp.asarray(scale, jnp.float32))
    return Latent(q, Normal(jnp.zeros(shape), jnp.ones(shape)), q.loc)


def kl_of(latent):
    m, s = (np.asarray(a, np.float64) for a in (latent.posterior.loc, latent.posterior.scale))
    return 0.5 * (m**2 + s**2 - 1) - np.log(s)


def evaluate(transform, *nodes):
    trace = Trace(jnp.zeros((nodes[0].z.shape[0], 1)), None, nodes)
    return game.chain(losses.kl(), transform).apply({}, {}, trace, KEY)


@pytest.mark.parametrize("nats", [0.0, 1.0, 2.0, 100.0])
def test_free_bits_of_nodes_and_of_dimensions_by_hand(nats):
    nodes = node(6, 3), node(6, 2, 2, 4, seed=1)
    got = evaluate(losses.free_bits(nats), *nodes)
    want = [max(nats, kl_of(n).reshape(6, -1).sum(1).mean()) for n in nodes]
    np.testing.assert_allclose(got["kl_free"], np.broadcast_to(want, (6, 2)), rtol=1e-5)

    got = evaluate(losses.free_bits(nats, per="dimension"), *nodes)
    want = []
    for n in nodes:  # a map's channel is one dimension
        groups = kl_of(n).reshape(6, -1, n.z.shape[-1]).sum(1).mean(0)
        want.append(sum(max(nats, group) for group in groups))
    np.testing.assert_allclose(got["kl_free"], np.broadcast_to(want, (6, 2)), rtol=1e-5)


def test_free_bits_have_no_gradient_below_their_level_and_that_of_the_kl_above():
    q, p, z = node(6, 3)
    nats = float(np.sort(kl_of(node(6, 3)).mean(0))[1]) + 1e-3  # two of three below

    def loss(loc, name):
        return evaluate(losses.free_bits(nats, "dimension"), Latent(Normal(loc, q.scale), p, z))[
            name
        ].mean(axis=0)[0]

    free, raw = (jax.grad(loss)(q.loc, name) for name in ("kl_free", "kl"))
    above = kl_of(node(6, 3)).mean(0) > nats
    assert above.sum() == 1
    np.testing.assert_allclose(free, np.where(above, raw, 0.0), rtol=1e-5)


def test_free_bits_take_any_kl_per_node_and_report_kls_without_dimensions():
    q, _, z = node(6, 3)
    mixture = Mixture(jnp.zeros(2), Normal(jnp.zeros((2, 3)), jnp.ones((2, 3))), 6)
    codes = OneHotCodes(jnp.zeros((6, 2)), jnp.zeros((6, 2)), jnp.zeros(6, jnp.int32), 8)
    for latent in (Latent(q, mixture, z), Latent(codes, Uniform(8, (6,)), codes.codes)):
        assert evaluate(losses.free_bits(5.0), latent)["kl_free"].shape == (6, 1)
        with pytest.raises(ValueError, match="has one for the whole latent; use per='node'"):
            evaluate(losses.free_bits(5.0, per="dimension"), latent)
    with pytest.raises(ValueError, match="unknown groups of free bits 'dimensions'"):
        losses.free_bits(1.0, per="dimensions")


def linear_model(x):
    """z -> x with one weight per element, with q(z | x) of a learned mean and scale."""

    def init(key, batch):
        return {"encoder": jnp.zeros((x.shape[1], 2)), "decoder": jnp.ones(x.shape[1])}

    def forward(params, batch, key, step):
        features = batch["vector"] @ params["encoder"]
        q = Normal(features[:, :1], jnp.exp(features[:, 1:] - 1.0))
        z = q.sample(key)
        p = Normal(z * params["decoder"][None], jnp.full(x.shape, 0.5))
        prior = Normal(jnp.zeros(z.shape), jnp.ones(z.shape))
        return Trace(batch["vector"], p, (Latent(q, prior, z),), step=step)

    return Model(init, forward, None, None, None)


def geco_family(x, target, rate=0.05):
    players = game.assign(
        {"vae": ("encoder", "decoder"), "multiplier": ("geco",)},
        {
            "vae": ({"kl": 1.0, "geco": 1.0}, optax.adam(rate)),
            "multiplier": ({"geco": -1.0}, optax.adam(rate)),
        },
    )
    terms = game.chain(losses.nll(), losses.kl(), losses.geco(target))
    return Family(linear_model(x), terms, players)


X = jnp.asarray(np.random.RandomState(0).randn(64, 1) * [[1.0, -1.0, 0.5]], jnp.float32)


def test_the_multiplier_ascends_the_constraint_and_the_others_descend_the_lagrangian():
    family = geco_family(X, target=3.0)
    params = jax.jit(lambda: game.init(family, KEY, {"vector": X}))() | {"geco": jnp.float32(0.7)}
    losses_fn = game.losses_and_trace(family)
    gradient = jax.jit(game.game_gradient(losses_fn, family.players))
    step = jnp.int32(0)
    grads, named, _ = gradient(params, step, {"vector": X}, KEY, step)
    nll, multiplier = np.asarray(named["nll"], np.float64), np.exp(0.7)
    np.testing.assert_allclose(named["geco"], multiplier * (nll - 3.0), rtol=1e-5)
    np.testing.assert_allclose(named["geco_multiplier"], multiplier, rtol=1e-6)
    # d/d log λ of −λ (nll − target): descent raises λ while nll is above its target.
    np.testing.assert_allclose(grads["geco"], -multiplier * (nll.mean() - 3.0), rtol=1e-5)

    def lagrangian(vae_params):
        named, _ = losses_fn(params | vae_params, {"vector": X}, KEY, step)
        return named["kl"].sum(axis=1).mean() + jnp.float32(multiplier) * named["nll"].mean()

    want = jax.grad(lagrangian)({k: params[k] for k in ("encoder", "decoder")})
    for name, value in want.items():
        np.testing.assert_allclose(grads[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("target", [1.6, 2.2])
def test_nll_converges_to_the_target_from_above_and_from_below(target):
    family = geco_family(X, target)
    losses_fn = game.losses_and_trace(family)
    gradient, tx = game.game_gradient(losses_fn, family.players), game.optimizer(family.players)

    def step(carry, t):
        params, state = carry
        key = jax.random.fold_in(KEY, t)
        grads, named, _ = gradient(params, t, {"vector": X}, key, t)
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), (
            named["nll"].mean(),
            named["geco_multiplier"],
        )

    params = jax.jit(lambda: game.init(family, KEY, {"vector": X}))()
    run = jax.jit(lambda carry: jax.lax.scan(step, carry, jnp.arange(1500)))
    _, (nll, multiplier) = run((params, tx.init(params)))
    assert abs(float(nll[:5].mean()) - target) > 0.3
    assert abs(float(nll[-300:].mean()) - target) < 0.05
    assert float(multiplier[-300:].std()) < 0.2 * float(multiplier[-300:].mean())


def test_geco_constrains_the_chosen_loss():
    latent = node(6, 3)
    trace = Trace(jnp.ones((6, 2)), Bernoulli(jnp.zeros((6, 2))), (latent,))
    chain = game.chain(losses.nll(), losses.kl(), losses.geco(4.0, of="kl"))
    got = chain.apply({}, chain.init(KEY, trace), trace, KEY)
    want = kl_of(latent).sum(1, keepdims=True) - 4.0
    np.testing.assert_allclose(got["geco"], want, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"unknown loss 'mse' \(known: nll"):
        game.chain(losses.nll(), losses.geco(1.0, of="mse")).apply({}, {}, trace, KEY)
