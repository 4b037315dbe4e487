"""The gradient of a game.

The gradient of VQ-VAE as a two-player game is compared bit for bit with that of the paper's scalar
loss with stop-gradients (1711.00937, eq. 3).
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tests.core.small_game import BATCH, KEY, SHAPE, SMALL, abstract_init
from vaejax import families
from vaejax.core import game
from vaejax.core.game import Player
from vaejax.quantizers import vector


def test_each_player_moves_only_its_own_groups_by_its_own_optimizer():
    players = {
        "a": Player(("one",), {"x": 1.0}, optax.sgd(0.1)),
        "b": Player(("two",), {"y": 1.0}, optax.sgd(10.0)),
    }
    params = {"one": jnp.array([1.0, 2.0]), "two": jnp.array([3.0, 4.0])}

    def losses_fn(params):  # each loss depends on both groups
        product = params["one"] * params["two"]
        return {"x": product.sum(), "y": -(product**2).sum()}, None

    grads, values, _ = game.game_gradient(losses_fn, players)(params, jnp.int32(0))
    np.testing.assert_allclose(grads["one"], [3.0, 4.0])
    np.testing.assert_allclose(grads["two"], [-6.0, -32.0])  # -2 x² y
    np.testing.assert_allclose(values["x"], 11.0)
    tx = game.optimizer(players)
    updates, _ = tx.update(grads, tx.init(params), params)
    np.testing.assert_allclose(updates["one"], [-0.3, -0.4], rtol=1e-6)
    np.testing.assert_allclose(updates["two"], [60.0, 320.0], rtol=1e-6)


def vqvae_both_ways():
    """The gradient of the game, that of the paper's scalar loss, and their arguments."""
    players = {
        "vae": ({"nll": 1.0, "vq": 0.25}, optax.sgd(0.1)),
        "codebook": ({"vq": 1.0}, optax.sgd(0.1)),
    }
    family = families.vqvae(SHAPE, players, quantizer=vector(16, 4), network=SMALL)
    losses_fn = game.losses_and_trace(family)
    gradient = game.game_gradient(losses_fn, family.players)
    rng, step = np.random.RandomState(0), jnp.zeros((), jnp.int32)
    shapes = abstract_init(family)
    params = jax.tree.map(lambda a: jnp.asarray(0.3 * rng.randn(*a.shape), jnp.float32), shapes)

    def as_game(params, image, key):
        return gradient(params, step, {"image": image}, key, step)[0]

    def paper(params, image, key):
        _, trace = losses_fn(params, {"image": image}, key, step)
        q, sg = trace.latents[0].posterior, jax.lax.stop_gradient
        nll = -trace.likelihood.log_prob(image).reshape(len(image), -1).sum(1)
        codebook = jnp.square(sg(q.features) - q.codes).reshape(len(image), -1).sum(1)
        commitment = jnp.square(q.features - sg(q.codes)).reshape(len(image), -1).sum(1)
        return nll.mean() + codebook.mean() + 0.25 * commitment.mean()

    return jax.jit(as_game), jax.jit(jax.grad(paper)), (params, jnp.asarray(BATCH["image"]), KEY)


def test_vqvae_as_a_game_has_exactly_the_papers_gradient_for_no_more_flops():
    as_game, paper, args = vqvae_both_ways()
    got, want = as_game.lower(*args).compile(), paper.lower(*args).compile()
    grads = got(*args)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(grads)), "a gradient is zero everywhere"
    jax.tree.map(np.testing.assert_array_equal, grads, want(*args))
    assert got.cost_analysis()["flops"] <= want.cost_analysis()["flops"]


def test_players_share_the_loops_that_sample_random_numbers():
    """The compiler merges the forward passes, so no sample is computed once per player."""

    def losses_fn(params, key):
        noise = jax.random.normal(key, (5, 40))
        order = jax.random.permutation(jax.random.fold_in(key, 1), 40)
        h = jnp.tanh(params["a"] * noise)[:, order]
        return {"x": h, "y": jnp.tanh(params["b"] * h)}, noise

    one = {"one": Player(("a",), {"x": 1.0}, optax.sgd(1.0))}
    two = {**one, "two": Player(("b",), {"y": 1.0}, optax.sgd(1.0))}
    params, step = {"a": jnp.float32(2.0), "b": jnp.float32(3.0)}, jnp.int32(0)

    def loops(players):
        owned = {group: params[group] for row in players.values() for group in row.owns}

        def gradient(owned, key):
            return game.game_gradient(lambda p, key: losses_fn({**params, **p}, key), players)(
                owned, step, key
            )

        return jax.jit(gradient).lower(owned, KEY).compile().as_text().count(" while(")

    assert loops(two) == loops(one) > 0
    grads, values, noise = game.game_gradient(losses_fn, two)(params, step, KEY)
    want = jax.grad(lambda b: losses_fn({**params, "b": b}, KEY)[0]["y"].mean(axis=0).sum())
    np.testing.assert_allclose(grads["b"], want(params["b"]), rtol=1e-5)
    np.testing.assert_array_equal(values["y"], losses_fn(params, KEY)[0]["y"])
    np.testing.assert_array_equal(noise, losses_fn(params, KEY)[1])
