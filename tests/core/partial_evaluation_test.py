"""What does not depend on parameters is computed once; values and gradients are unchanged."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend.core import jaxprs_in_params

from vaejax.core import game
from vaejax.core.game import Player
from vaejax.core.partial_evaluation import precompute_constants

KEY = jax.random.key(0)
PARAMS = {"b": jnp.float32(-1.0), "w": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3)}


@jax.custom_vjp
def double(x):
    """2 x with the custom derivative 5, which shows whether custom derivatives are kept."""
    return 2.0 * x


double.defvjp(lambda x: (double(x), None), lambda _, g: (5.0 * g,))


def noisy(params, x, key):
    """Samples, a loop, a custom derivative, and outputs that are inputs or depend on no input."""
    noise = jax.random.normal(key, x.shape)
    order = jax.random.permutation(key, x.shape[0])
    h = double(jax.nn.relu((x + noise)[order] @ params["w"] + params["b"]))
    h, ys = jax.lax.scan(lambda c, n: (c * n + params["b"], c.sum()), h, noise[:, 0])
    return {"h": h, "x": x, "b": params["b"], "ys": ys}, (noise, order, jnp.arange(3))


def arguments():
    return jnp.asarray(np.random.RandomState(0).randn(4, 2), jnp.float32), KEY


def num_samples(fn, *args):
    """The number of random samples in the jaxpr of a function (its text may merge calls)."""

    def count(jaxpr):
        inner = [sub for eqn in jaxpr.eqns for sub in jaxprs_in_params(eqn.params)]
        outer = sum(eqn.primitive.name == "random_bits" for eqn in jaxpr.eqns)
        return outer + sum(count(sub) for sub in inner)

    return count(jax.make_jaxpr(fn)(*args).jaxpr)


@pytest.mark.parametrize("compiled", [False, True])
def test_values_and_gradients_are_unchanged(compiled):
    def precomputed(params, *args):
        return precompute_constants(noisy, params, *args)(params)

    def gradient_and_outputs(fn):
        def loss(params, *args):
            out = fn(params, *args)
            return out[0]["h"].sum() + out[0]["ys"].sum(), out

        run = jax.grad(loss, has_aux=True)
        return (jax.jit(run) if compiled else run)(PARAMS, *arguments())

    got, want = gradient_and_outputs(precomputed), gradient_and_outputs(noisy)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(got[0]))


def test_the_gradient_of_relu_at_zero_is_unchanged():
    got = jax.grad(lambda p: precompute_constants(lambda p: jax.nn.relu(p), p)(p))(jnp.zeros(()))
    assert got == 0.0  # the gradient of `max(x, 0)` would be ½


def test_samples_are_computed_once_for_several_parameters():
    def shared(params, *args):
        fn = precompute_constants(noisy, params, *args)
        return fn(params), fn(jax.tree.map(jnp.negative, params))

    def separate(params, *args):
        return noisy(params, *args), noisy(params, *args)

    once = num_samples(noisy, PARAMS, *arguments())
    assert num_samples(separate, PARAMS, *arguments()) == 2 * once > 0
    assert num_samples(shared, PARAMS, *arguments()) == once
    first, second = shared(PARAMS, *arguments())
    jax.tree.map(np.testing.assert_array_equal, first, noisy(PARAMS, *arguments()))
    negative = jax.tree.map(jnp.negative, PARAMS)
    jax.tree.map(np.testing.assert_array_equal, second, noisy(negative, *arguments()))


def test_vmap_over_keys_and_parameters():
    x, _ = arguments()
    keys = jax.random.split(KEY, 3)
    params = jax.tree.map(lambda p: jnp.stack([p, 2 * p, 3 * p]), PARAMS)
    got = jax.vmap(lambda p, k: precompute_constants(noisy, p, x, k)(p))(params, keys)
    want = jax.vmap(lambda p, k: noisy(p, x, k))(params, keys)
    jax.tree.map(np.testing.assert_array_equal, got, want)


def test_all_players_of_a_game_share_one_sample():
    def losses_fn(params, key):
        noise = jax.random.normal(key, (5,))
        return {"x": params["a"] * noise, "y": params["a"] * params["b"] * noise}, noise

    players = {
        "one": Player(("a",), {"x": 1.0}, optax.sgd(1.0)),
        "two": Player(("b",), {"y": 1.0}, optax.sgd(1.0)),
    }
    gradient = game.game_gradient(losses_fn, players)
    params, step = {"a": jnp.float32(2.0), "b": jnp.float32(3.0)}, jnp.int32(0)
    assert num_samples(gradient, params, step, KEY) == 1
    grads, losses, noise = gradient(params, step, KEY)
    np.testing.assert_allclose(grads["a"], noise.mean(), rtol=1e-6)
    np.testing.assert_allclose(grads["b"], 2 * noise.mean(), rtol=1e-6)
    np.testing.assert_allclose(losses["y"], 6 * noise, rtol=1e-6)
