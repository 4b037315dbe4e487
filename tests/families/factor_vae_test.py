"""FactorVAE as a game, against the paper's two steps written by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vaejax import distributions, families, networks
from vaejax.core import game
from vaejax.losses.total_correlation import permute_dims

KEY = jax.random.key(0)
SHAPE = (8, 8, 1)
STEP = jnp.zeros((), jnp.int32)
IMAGES = np.random.RandomState(0).rand(16, *SHAPE).astype(np.float32)


def factor_vae(model=1.0, critic=1.0):
    """The family, its two rows multiplied by weights that may be traced."""
    players = {
        "vae": ({"nll": model, "kl": model, "tc": 35.0 * model}, optax.sgd(0.1)),
        "critic": ({"critic": critic}, optax.sgd(0.1)),
    }
    return families.factor_vae(
        SHAPE,
        players,
        latent_dim=3,
        network={"kind": "mlp", "hidden": (32,)},
        critic={"hidden": (24, 24)},
    )


def gradient_of(family):
    gradient = game.game_gradient(game.losses_and_trace(family), family.players)
    return lambda params, image, key: gradient(params, STEP, {"image": image}, key, STEP)[0]


@functools.cache
def first_params():
    return jax.jit(lambda: game.init(factor_vae(), KEY, {"image": IMAGES}))()


def two_steps(family):
    """Algorithm 2 of the paper: the model against a constant critic, the critic on constant z."""
    sg = jax.lax.stop_gradient
    critic = networks.latent_critic((24, 24))

    def log_odds(params, z):
        logits = critic.apply(params, z)
        return logits[:, 0] - logits[:, 1]

    def loss(params, image, key):
        forward_key, losses_key = jax.random.split(key)
        trace = family.model.forward(params, {"image": image}, forward_key, STEP)
        (q, p, z), shuffle_key = trace.latents[0], jax.random.fold_in(losses_key, 2)
        nll = -trace.likelihood.log_prob(image).reshape(len(image), -1).sum(1)
        kl = distributions.kl(q, p, z).sum(1)
        tc = log_odds(sg(params["critic"]), z)

        shuffled = permute_dims(shuffle_key, sg(z)[8:])
        odds = log_odds(params["critic"], jnp.concatenate([sg(z)[:8], shuffled]))
        entropy = jax.nn.softplus(jnp.concatenate([-odds[:8], odds[8:]]))
        return nll.mean() + kl.mean() + 35.0 * tc.mean() + entropy.mean()

    return jax.jit(jax.grad(loss))


def test_the_gradient_is_that_of_the_two_steps_to_the_bit_for_no_more_flops():
    family = factor_vae()
    args = first_params(), jnp.asarray(IMAGES), KEY
    got = jax.jit(gradient_of(family)).lower(*args).compile()
    want = two_steps(family).lower(*args).compile()
    grads = got(*args)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(grads)), "a gradient is zero everywhere"
    jax.tree.map(np.testing.assert_array_equal, grads, want(*args))
    assert got.cost_analysis()["flops"] <= want.cost_analysis()["flops"]


def test_nothing_of_the_critics_loss_reaches_the_encoder():
    """Exactly zero with the critic's row alone; to the bit the same whatever it weighs."""
    params = first_params()

    @jax.jit
    def gradient(model, critic):
        return gradient_of(factor_vae(model, critic))(params, IMAGES, KEY)

    def any_of(tree):
        return [bool(np.any(leaf)) for leaf in jax.tree.leaves(tree)]

    alone = gradient(0.0, 1.0)
    assert not any(any_of((alone["encoder"], alone["decoder"])))
    assert all(any_of(alone["critic"]))
    one, many = gradient(1.0, 1.0), gradient(1.0, 1e3)
    assert all(any_of((one["encoder"], one["decoder"])))
    jax.tree.map(np.testing.assert_array_equal, one["encoder"], many["encoder"])
    assert all(any_of(jax.tree.map(np.subtract, one["critic"], many["critic"])))

    @jax.jit
    @jax.grad
    def leak(encoder):  # without ownership it would: it is there to be kept out
        losses_fn = game.losses_and_trace(factor_vae())
        out, _ = losses_fn({**params, "encoder": encoder}, {"image": IMAGES}, KEY, STEP)
        return out["critic"].mean()

    assert all(any_of(leak(params["encoder"])))
