"""Skipping of large gradients: parameters, states, and the bound on consecutive skips."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax.optimizers.build import optimizer
from vaejax.optimizers.skip_large_gradients import skip_large


def _run(tx, gradients):
    """Parameters after each gradient in a compiled training loop, and the last state."""
    params = {"w": jnp.zeros(2)}
    state, values = tx.init(params), []
    update = jax.jit(tx.update)
    for g in gradients:
        with jax.numpy_dtype_promotion("standard"):
            change, state = update({"w": jnp.asarray(g, jnp.float32)}, state, params)
        params = optax.apply_updates(params, change)
        values.append(np.asarray(params["w"]))
    return np.array(values), state


def test_a_skipped_step_changes_neither_parameters_nor_state():
    small, large = [[0.3, 0.4], [0.1, 0.0], [-0.2, 0.1]], [30.0, 40.0]
    tx = skip_large(optax.adam(0.1), above=1.0)
    with_large, state = _run(tx, [small[0], large, small[1], small[2]])
    without, plain = _run(optax.adam(0.1), small)
    np.testing.assert_array_equal(with_large[[0, 2, 3]], without)
    np.testing.assert_array_equal(with_large[1], with_large[0])
    for a, b in zip(jax.tree.leaves(state.inner), jax.tree.leaves(plain), strict=True):
        np.testing.assert_array_equal(a, b)


def test_training_continues_if_gradients_stay_large():
    params, _ = _run(skip_large(optax.sgd(1.0), above=1.0, at_most=3), [[2.0, 0.0]] * 8)
    # Three steps are skipped, the fourth is taken, and counting restarts.
    np.testing.assert_array_equal(-params[:, 0] / 2, [0, 0, 0, 1, 1, 1, 1, 2])


def test_gradients_with_nan_are_skipped():
    params, _ = _run(skip_large(optax.sgd(1.0), above=1.0), [[np.nan, 0.0], [0.5, 0.0]])
    np.testing.assert_array_equal(params, [[0.0, 0.0], [-0.5, 0.0]])


def test_skip_is_a_setting_of_every_optimizer():
    setting = {"learning_rate": 1.0, "clip_norm": 1.0, "skip": {"above": 5.0, "at_most": 1}}
    params, _ = _run(optimizer("sgd", **setting), [[3.0, 0.0], [6.0, 0.0], [6.0, 0.0]])
    np.testing.assert_allclose(params[:, 0], [-1.0, -1.0, -2.0])  # clipped, skipped, clipped


@pytest.mark.parametrize(
    ("skip", "message"),
    [({"above": 0.0}, "above must be more than 0"), ({"above": 1.0, "at_most": 0}, "at least 1"),
     ({"abov": 1.0}, "above")],
)  # fmt: skip
def test_invalid_arguments_are_reported(skip, message):
    with pytest.raises(ValueError, match=message):
        optimizer("sgd", learning_rate=1.0, skip=skip)
