"""What does not depend on the parameters is computed once, and nothing else changes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend.core import jaxprs_in_params

from vaejax.core import game
from vaejax.core.game import Player
from vaejax.core.partial_evaluation import hoisted

KEY = jax.random.key(0)
PARAMS = {"b": jnp.float32(-1.0), "w": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3)}


@jax.custom_vjp
def twice(x):
    """Its derivative is 5, so that it is seen whether that is kept."""
    return 2.0 * x


twice.defvjp(lambda x: (twice(x), None), lambda _, g: (5.0 * g,))


def noisy(params, x, key):
    """Draws, a loop, derivatives of its own, and outputs that are inputs or depend on no input."""
    noise = jax.random.normal(key, x.shape)
    order = jax.random.permutation(key, x.shape[0])
    h = twice(jax.nn.relu((x + noise)[order] @ params["w"] + params["b"]))
    h, ys = jax.lax.scan(lambda c, n: (c * n + params["b"], c.sum()), h, noise[:, 0])
    return {"h": h, "x": x, "b": params["b"], "ys": ys}, (noise, order, jnp.arange(3))


def arguments():
    return jnp.asarray(np.random.RandomState(0).randn(4, 2), jnp.float32), KEY


def draws(fn, *args):
    """How many draws a program makes (in its text, what is called twice may stand once)."""

    def count(jaxpr):
        inner = [sub for eqn in jaxpr.eqns for sub in jaxprs_in_params(eqn.params)]
        own = sum(eqn.primitive.name == "random_bits" for eqn in jaxpr.eqns)
        return own + sum(count(sub) for sub in inner)

    return count(jax.make_jaxpr(fn)(*args).jaxpr)


@pytest.mark.parametrize("compiled", [False, True])
def test_values_and_gradients_stay_as_they_are(compiled):
    def through_hoisted(params, *args):
        return hoisted(noisy, params, *args)(params)

    def both(fn):
        def loss(params, *args):
            out = fn(params, *args)
            return out[0]["h"].sum() + out[0]["ys"].sum(), out

        run = jax.grad(loss, has_aux=True)
        return (jax.jit(run) if compiled else run)(PARAMS, *arguments())

    got, want = both(through_hoisted), both(noisy)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(got[0]))


def test_a_relu_has_no_slope_at_zero_as_before():
    got = jax.grad(lambda p: hoisted(lambda p: jax.nn.relu(p), p)(p))(jnp.zeros(()))
    assert got == 0.0  # of `max(x, 0)` it would be ½


def test_draws_are_made_once_for_all_parameters():
    def two(params, *args):
        fn = hoisted(noisy, params, *args)
        return fn(params), fn(jax.tree.map(jnp.negative, params))

    def each_by_itself(params, *args):
        return noisy(params, *args), noisy(params, *args)

    once = draws(noisy, PARAMS, *arguments())
    assert draws(each_by_itself, PARAMS, *arguments()) == 2 * once > 0
    assert draws(two, PARAMS, *arguments()) == once
    first, second = two(PARAMS, *arguments())
    jax.tree.map(np.testing.assert_array_equal, first, noisy(PARAMS, *arguments()))
    negative = jax.tree.map(jnp.negative, PARAMS)
    jax.tree.map(np.testing.assert_array_equal, second, noisy(negative, *arguments()))


def test_it_can_be_mapped_over_keys_and_over_parameters():
    x, _ = arguments()
    keys = jax.random.split(KEY, 3)
    params = jax.tree.map(lambda p: jnp.stack([p, 2 * p, 3 * p]), PARAMS)
    got = jax.vmap(lambda p, k: hoisted(noisy, p, x, k)(p))(params, keys)
    want = jax.vmap(lambda p, k: noisy(p, x, k))(params, keys)
    jax.tree.map(np.testing.assert_array_equal, got, want)


def test_all_players_of_a_game_see_one_draw_that_is_made_once():
    def losses_fn(params, key):
        noise = jax.random.normal(key, (5,))
        return {"x": params["a"] * noise, "y": params["a"] * params["b"] * noise}, noise

    players = {
        "one": Player(("a",), {"x": 1.0}, optax.sgd(1.0)),
        "two": Player(("b",), {"y": 1.0}, optax.sgd(1.0)),
    }
    gradient = game.game_gradient(losses_fn, players)
    params, step = {"a": jnp.float32(2.0), "b": jnp.float32(3.0)}, jnp.int32(0)
    assert draws(gradient, params, step, KEY) == 1
    grads, losses, noise = gradient(params, step, KEY)
    np.testing.assert_allclose(grads["a"], noise.mean(), rtol=1e-6)
    np.testing.assert_allclose(grads["b"], 2 * noise.mean(), rtol=1e-6)
    np.testing.assert_allclose(losses["y"], 6 * noise, rtol=1e-6)
