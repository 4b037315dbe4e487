"""Training on many devices or with micro-batches equals training on one device."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax.core import game
from vaejax.core.sharding import batch_sharding, make_mesh, put, tree_sharding
from vaejax.training.train_step import make_step


# Both mesh axes for every family; single axes are slow tests, see also
# tests/training/sharding_test.py.
@pytest.mark.parametrize(
    "sizes",
    [
        (2, 4),
        pytest.param((8, 1), marks=pytest.mark.slow),
        pytest.param((1, 8), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_many_devices_equal_one(case, sizes):
    mesh, state = make_mesh(*sizes), case.trained[0]
    sharding = tree_sharding(mesh, state)
    split = any(not s.is_fully_replicated for s in jax.tree.leaves(sharding.params))
    large = any(leaf.size >= 4096 for leaf in jax.tree.leaves(state.params))
    assert split == (large and mesh.shape["fsdp"] > 1)
    step = make_step(case.family, ema_decay=case.ema_decay)
    step = jax.jit(step, out_shardings=(sharding, None, None))
    state = jax.device_put(state, sharding)
    for i in range(case.steps):
        state, _, ok = step(state, put(batch_sharding(mesh), case.batch(i)), 0)
    assert ok
    assert step._cache_size() == 1
    for field in ("params", "ema"):
        got, want = (jax.device_get(getattr(s, field)) for s in (state, case.trained[-1]))
        chex.assert_trees_all_close(got, want, atol=1e-5, rtol=0)


def test_gradients_accumulated_over_micro_batches_are_those_of_the_batch(case):
    """Exactly for deterministic families; else on average, since the noise differs.

    A loss that is a statistic of the batch becomes the mean of those of the micro-batches.
    """
    players = {k: p._replace(tx=optax.sgd(1.0)) for k, p in case.family.players.items()}
    family = case.family._replace(players=players)
    # The learning rate is 1 from here on, so parameters change by the gradient.
    state = case.trained[10]
    state = state._replace(opt_state=game.optimizer(players).init(state.params))
    seeds = 128 if case.random else 1

    def gradients(grad_accumulation_steps, batch):
        step = make_step(
            family, ema_decay=case.ema_decay, grad_accumulation_steps=grad_accumulation_steps
        )

        @jax.jit
        def per_seed(seed):
            new, metrics, ok = step(state, batch, seed)
            return jax.tree.map(jnp.subtract, state.params, new.params), metrics, ok

        results = [per_seed(np.int32(seed)) for seed in range(seeds)]
        return jax.tree.map(lambda *a: np.stack(a), *results)

    batch = case.batch(0)
    accumulated, accumulated_metrics, accumulated_ok = gradients(2, batch)
    pieces = 2 if case.of_batch else 1
    by_piece = [
        gradients(1, jax.tree.map(lambda a, i=i: np.split(a, pieces)[i], batch))
        for i in range(pieces)
    ]
    expected, metrics, ok = jax.tree.map(lambda *a: np.mean(a, axis=0), *by_piece)
    assert (ok == 1).all()  # in all pieces
    assert accumulated_ok.all()
    assert metrics.keys() == accumulated_metrics.keys()
    if not case.random:
        chex.assert_trees_all_close(accumulated, expected, rtol=1e-4, atol=1e-5)
        return
    any_noise = False
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(accumulated), strict=True):
        directions = np.random.RandomState(0).randn(a[0].size, 8) / np.sqrt(a[0].size)
        a, b = (np.asarray(x, np.float64).reshape(seeds, -1) @ directions for x in (a, b))
        error = np.sqrt((a.var(0) + b.var(0)) / seeds)
        # The only error of leaves without noise: rounding of the sums, and of the differences of
        # parameters near 1.
        rounding = 1e-6 * np.abs(a).max() + np.finfo(np.float32).eps
        any_noise |= (error > rounding).any()
        assert (np.abs(a.mean(0) - b.mean(0)) < 5 * error + rounding).all()
    assert any_noise, "every seed gives the same gradient"
