"""FactorVAE as a game, against the two steps of the paper's algorithm."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vaejax import distributions, families, losses, networks
from vaejax.core import game

KEY = jax.random.key(0)
SHAPE = (8, 8, 1)
STEP = jnp.zeros((), jnp.int32)
IMAGES = np.random.RandomState(0).rand(16, *SHAPE).astype(np.float32)


def factor_vae(model=1.0, discriminator=1.0):
    """The family, with the losses of its two players multiplied by weights, which can be traced."""
    players = {
        "vae": ({"nll": model, "kl": model, "tc": 35.0 * model}, optax.sgd(0.1)),
        "discriminator": ({"discriminator_loss": discriminator}, optax.sgd(0.1)),
    }
    return families.factor_vae(
        SHAPE,
        players,
        latent_dim=3,
        network={"kind": "mlp", "hidden": (32,)},
        discriminator={"hidden": (24, 24)},
    )


def gradient_of(family):
    gradient = game.game_gradient(game.losses_and_trace(family), family.players)
    return lambda params, image, key: gradient(params, STEP, {"image": image}, key, STEP)[0]


@functools.cache
def first_params():
    return jax.jit(lambda: game.init(factor_vae(), KEY, {"image": IMAGES}))()


def pass_with_inputs(family, discriminator):
    """`(params, image, key) -> (trace, inputs of the discriminator)` of the losses' pass."""
    inputs = []

    def observed(params, z):
        inputs.append(z)
        return discriminator.apply(params, z)

    network = networks.Network(discriminator.init, observed)
    terms = game.chain(losses.nll(), losses.kl(), losses.total_correlation(network))
    losses_and_trace = game.losses_and_trace(family._replace(losses=terms))

    def run(params, image, key):
        inputs.clear()
        return losses_and_trace(params, {"image": image}, key, STEP)[1], list(inputs)

    return run


def two_steps(family):
    """Algorithm 2: the model against a constant discriminator, that one on constant z."""
    sg = jax.lax.stop_gradient
    discriminator = networks.latent_discriminator((24, 24))
    run = pass_with_inputs(family, discriminator)

    def log_odds(params, z):
        logits = discriminator.apply(params, z)
        return logits[:, 0] - logits[:, 1]

    def loss(params, image, key):
        trace, (both_classes, _) = run(params, image, key)
        q, p, z = trace.latents[0]
        nll = -trace.likelihood.log_prob(image).reshape(len(image), -1).sum(1)
        kl = distributions.kl(q, p, z).sum(1)
        tc = log_odds(sg(params["discriminator"]), z)

        odds = log_odds(params["discriminator"], sg(both_classes))
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

    # Of the rows of the discriminator's own loss half are samples, half have permuted columns.
    run = pass_with_inputs(family, networks.latent_discriminator((24, 24)))
    trace, (both_classes, samples) = jax.jit(run)(*args)
    z = trace.latents[0].z
    np.testing.assert_array_equal(samples, z)
    np.testing.assert_array_equal(both_classes[:8], z[:8])
    np.testing.assert_array_equal(np.sort(both_classes[8:], axis=0), np.sort(z[8:], axis=0))
    assert not np.any(np.all(both_classes[8:, None] == z[None, 8:], axis=2)), "rows stayed whole"


def test_the_discriminator_loss_has_no_gradient_for_the_encoder():
    """Exactly zero with the discriminator's row alone; to the bit the same whatever it weighs."""
    params = first_params()

    @jax.jit
    def gradient(model, discriminator):
        return gradient_of(factor_vae(model, discriminator))(params, IMAGES, KEY)

    def any_of(tree):
        return [bool(np.any(leaf)) for leaf in jax.tree.leaves(tree)]

    only_discriminator = gradient(0.0, 1.0)
    assert not any(any_of((only_discriminator["encoder"], only_discriminator["decoder"])))
    assert all(any_of(only_discriminator["discriminator"]))
    small, large = gradient(1.0, 1.0), gradient(1.0, 1e3)
    assert all(any_of((small["encoder"], small["decoder"])))
    jax.tree.map(np.testing.assert_array_equal, small["encoder"], large["encoder"])
    assert all(any_of(jax.tree.map(np.subtract, small["discriminator"], large["discriminator"])))

    @jax.jit
    @jax.grad
    def unowned(encoder):  # without ownership of groups there would be one
        losses_fn = game.losses_and_trace(factor_vae())
        out, _ = losses_fn({**params, "encoder": encoder}, {"image": IMAGES}, KEY, STEP)
        return out["discriminator_loss"].mean()

    assert all(any_of(unowned(params["encoder"])))
