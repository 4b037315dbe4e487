"""VAE-GAN as a game: the gradients of Algorithm 1, frozen players, delayed weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax import families
from vaejax.core import game
from vaejax.core.schedules import schedule
from vaejax.networks import Network
from vaejax.optimizers import build
from vaejax.training.train_step import init_state, make_step

SHAPE, N = (4, 4, 1), 8
KEY = jax.random.key(0)
STEP = jnp.int32(0)
BATCH = {"image": np.random.RandomState(0).rand(N, *SHAPE).astype(np.float32)}
MLP = {"kind": "mlp", "hidden": (8,)}


def flat(x):
    return x.reshape(x.shape[0], -1)


def discriminate(params, x):
    features = flat(x) @ params["v"]
    return jnp.tanh(features) @ params["w"], features


DISCRIMINATOR = Network(
    lambda key, x: {
        "v": jax.random.normal(key, (16, 5)),
        "w": jax.random.normal(jax.random.fold_in(key, 1), (5,)),
    },
    discriminate,
)


def vae_gan(encoder=None, decoder=None, discriminator=None, tx=None, **options):
    tx = tx or {}
    players = {
        "encoder": (encoder or {"kl": 1.0, "feature": 1.0}, tx.get("encoder", optax.sgd(0.1))),
        "decoder": (decoder or {"feature": 0.3, "gan": -1.0}, tx.get("decoder", optax.sgd(0.1))),
        "discriminator": (discriminator or {"gan": 1.0}, tx.get("discriminator", optax.sgd(0.1))),
    }
    options = {"latent_dim": 2, "network": MLP, "discriminator": DISCRIMINATOR} | options
    return families.vae_gan(SHAPE, players, **options)


def gradient_of(family, params, key=KEY, step=STEP):
    gradient = game.game_gradient(game.losses_and_trace(family), family.players)
    return gradient(params, step, BATCH, key, step)[0]


def gradients(family, params, key=KEY):
    return jax.jit(lambda params: gradient_of(family, params, key))(params)


@functools.cache
def some_params():
    return jax.jit(lambda: game.init(vae_gan(), KEY, BATCH))()


def algorithm_1(family, params, key, gamma, objective):
    """Larsen et al., Algorithm 1, as one scalar with stop-gradients."""
    sg, losses_and_trace = jax.lax.stop_gradient, game.losses_and_trace(family)

    def run(encoder, decoder):
        groups = {**sg(params), "encoder": encoder, "decoder": decoder}
        _, trace = losses_and_trace(groups, BATCH, key, STEP)
        return trace, trace.likelihood.mean, trace.generated.mean

    def llike(x, x_tilde, discriminator):
        gap = discriminate(discriminator, x)[1] - discriminate(discriminator, x_tilde)[1]
        return -0.5 * (gap**2 + jnp.log(2 * jnp.pi)).sum(axis=1).mean()

    def gan(discriminator, x, *fakes):
        d = jax.nn.sigmoid(discriminate(discriminator, x)[0])
        others = [jax.nn.sigmoid(discriminate(discriminator, fake)[0]) for fake in fakes]
        return (jnp.log(d) + sum(jnp.log(1 - o) for o in others)).mean()

    encoder, decoder, discriminator = (
        params[name] for name in ("encoder", "decoder", "discriminator")
    )
    trace, x_tilde, _ = run(encoder, sg(decoder))
    q = trace.latents[0].posterior
    prior = 0.5 * (q.loc**2 + q.scale**2 - 1 - 2 * jnp.log(q.scale)).sum(axis=1).mean()
    total = prior - llike(trace.x, x_tilde, sg(discriminator))  # θ_Enc
    trace, *fakes = run(sg(encoder), decoder)
    total += -gamma * llike(trace.x, fakes[0], sg(discriminator))  # θ_Dec
    if objective == "gan":
        total += gan(sg(discriminator), trace.x, *fakes)
    else:  # −log D of the fakes in place of log(1 − D)
        total += -sum(
            jnp.log(jax.nn.sigmoid(discriminate(sg(discriminator), fake)[0])).mean()
            for fake in fakes
        )
    return total - gan(discriminator, trace.x, *sg(fakes))  # θ_Dis


@pytest.mark.parametrize(
    "objective", ["gan", pytest.param("non_saturating", marks=pytest.mark.slow)]
)
def test_three_players_have_the_gradients_of_algorithm_1(objective):
    gamma = 0.3
    decoder = {"feature": gamma} | ({"gan": -1.0} if objective == "gan" else {"generator": 1.0})
    family = vae_gan(decoder=decoder, objective=objective)
    params, key = some_params(), jax.random.key(3)
    want = jax.jit(jax.grad(lambda p: algorithm_1(family, p, key, gamma, objective)))(params)
    got = gradients(family, params, key)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert np.any(b)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_the_gan_gradient_never_reaches_the_encoder():
    params = some_params()

    @jax.jit
    def encoder_gradient(weight, gan, decoder, discriminator):
        family = vae_gan(
            encoder={"kl": weight, "feature": weight, "gan": gan},
            decoder={"feature": 0.3, "gan": decoder},
            discriminator={"gan": discriminator},
        )
        return gradient_of(family, params)["encoder"]

    assert not any(np.any(g) for g in jax.tree.leaves(encoder_gradient(0.0, 0.0, -1e6, 50.0)))
    # It does if the encoder minimises it; and the encoder's own losses do.
    for row in ((0.0, -1.0), (1.0, 0.0)):
        assert all(np.any(g) for g in jax.tree.leaves(encoder_gradient(*row, -1.0, 1.0)))
    # The weights of the other players do not change the encoder's gradient.
    a, b = encoder_gradient(1.0, 0.0, 0.0, 0.0), encoder_gradient(1.0, 0.0, -1e6, 50.0)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_the_adaptive_weight_balances_gradient_norms_and_is_a_constant():
    """The decoder's gradient is λ times the generator's, with nll's norm at the last layer."""
    options = {"objective": "hinge", "likelihood": "normal"}
    layer = {"layer": "decoder/Dense_1/kernel", "loss": "nll"}

    @jax.jit
    def weight_and_gradients(params):
        balanced = vae_gan(decoder={"generator_balanced": 1.0}, adaptive=layer, **options)
        named, _ = game.losses_and_trace(balanced)(params, BATCH, KEY, STEP)
        return named["generator_balanced"] / named["generator"], *(
            gradient_of(family, params)["decoder"]
            for family in (
                balanced,
                vae_gan(decoder={"generator": 1.0}, **options),
                vae_gan(decoder={"generator": 1.0}, prior_samples=False, **options),
                vae_gan(decoder={"nll": 1.0}, **options),
            )
        )

    weight, got, plain, reconstructed, nll = weight_and_gradients(some_params())
    np.testing.assert_allclose(weight, weight[0], rtol=1e-5)
    assert not 0.9 < weight[0] < 1.1
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, weight[0] * b, rtol=1e-4, atol=1e-5), got, plain
    )
    a, b = (np.linalg.norm(g["Dense_1"]["kernel"]) for g in (reconstructed, nll))
    np.testing.assert_allclose(weight[0] * a, b, rtol=1e-4)


def test_a_delayed_weight_is_zero_before_its_first_step():
    late, params = schedule({"kind": "delayed", "value": -2.0, "begin": 7}), some_params()

    def decoders(weight, step):
        family = vae_gan(decoder={"feature": 1.0, "gan": weight})
        return gradient_of(family, params, step=step)["decoder"]

    with_schedule, with_number = jax.jit(lambda step: decoders(late, step)), jax.jit(decoders)
    for step, weight in ((0, 0.0), (6, 0.0), (7, -2.0), (10**6, -2.0)):
        t = jnp.int32(step)
        assert float(late(t)) == weight
        jax.tree.map(np.testing.assert_array_equal, with_schedule(t), with_number(weight, t))
    assert float(schedule({"kind": "delayed", "value": 1, "begin": 2, "before": 0.5})(1)) == 0.5


def test_a_frozen_player_keeps_parameters_and_optimizer_state():
    settings = {
        name: {"minimizes": row, "learning_rate": 1e-3}
        for name, row in (("encoder", {"kl": 1.0, "feature": 1.0}),
                          ("decoder", {"feature": 0.3, "gan": -1.0}),
                          ("discriminator", {"gan": 1.0}))
    }  # fmt: skip
    settings["discriminator"]["freeze"] = {"when": "low", "equilibrium": 1e6}
    settings["decoder"]["freeze"] = {"when": "high", "equilibrium": 1e6}
    family = families.vae_gan(
        SHAPE, build.players(settings), latent_dim=2, network=MLP, discriminator=DISCRIMINATOR
    )
    state = jax.jit(lambda: init_state(family, 0, BATCH))()
    after, _, ok = jax.jit(make_step(family))(state, BATCH, 0)
    assert ok
    for name in family.players:
        pairs = [(state.params[name], after.params[name])]
        pairs.append(tuple(s.opt_state.inner_states[name] for s in (state, after)))
        for old, new in pairs:
            leaves = zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
            same = [np.array_equal(a, b) for a, b in leaves]
            assert all(same) if name == "discriminator" else not any(same)
