"""A training state of random numbers, saved to a folder and restored from it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vaejax.core import game
from vaejax.core.sharding import make_mesh, tree_sharding
from vaejax.training.checkpoint import Checkpoints
from vaejax.training.train_step import TrainState

PLAYERS = {
    "vae": game.Player(("encoder", "decoder"), {}, optax.adamw(1e-3)),
    "codebook": game.Player(("codebook",), {}, optax.sgd(0.1, momentum=0.9)),
}


def random_state(seed=0, ema=True):
    """A state of two players, whose `optax.partition` has masked nodes."""
    rng = np.random.RandomState(seed)

    def normal(*shape):
        return jnp.asarray(rng.standard_normal(shape), jnp.float32)

    params = {
        "encoder": {"Dense_0": {"kernel": normal(64, 64), "bias": normal(64)}},
        "decoder": {"Dense_0": {"kernel": normal(64, 128), "bias": normal(128)}, "none": {}},
        "codebook": normal(64, 64),
    }
    opt_state = game.optimizer(PLAYERS).init(params)
    opt_state = jax.tree.map(lambda a: a + jnp.asarray(rng.randint(9), a.dtype), opt_state)
    average = jax.tree.map(lambda a: a * 0.5, params) if ema else {}
    return TrainState(
        jnp.int32(7), params, opt_state, average, jnp.int32(2), jnp.int32(5), jnp.float32(-3.0),
        jnp.int32(4), jnp.int32(1), jnp.int32(6), {},
    )  # fmt: skip


def shapes_of(state, mesh=None):
    sharding = tree_sharding(mesh or make_mesh(1), state)
    return jax.tree.map(
        lambda a, at: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=at), state, sharding
    )


def assert_same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def save(folder, state, step=7):
    checkpoints = Checkpoints(folder)
    checkpoints.save(step, state)
    checkpoints.close()


def restore(folder, like, step=None):
    checkpoints = Checkpoints(folder)
    try:
        return checkpoints.restore(like, step)
    finally:
        checkpoints.close()
