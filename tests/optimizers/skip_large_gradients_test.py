import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax.optimizers.build import optimizer
from vaejax.optimizers.skip_large_gradients import skip_large


def _run(tx, gradients):
    """Parameters after each gradient, as a user's loop would have them."""
    params = {"w": jnp.zeros(2)}
    state, seen = tx.init(params), []
    update = jax.jit(tx.update)
    for g in gradients:
        with jax.numpy_dtype_promotion("standard"):
            change, state = update({"w": jnp.asarray(g, jnp.float32)}, state, params)
        params = optax.apply_updates(params, change)
        seen.append(np.asarray(params["w"]))
    return np.array(seen), state


def test_a_large_step_leaves_no_trace():
    small, large = [[0.3, 0.4], [0.1, 0.0], [-0.2, 0.1]], [30.0, 40.0]
    tx = skip_large(optax.adam(0.1), above=1.0)
    with_it, state = _run(tx, [small[0], large, small[1], small[2]])
    without, plain = _run(optax.adam(0.1), small)
    np.testing.assert_array_equal(with_it[[0, 2, 3]], without)
    np.testing.assert_array_equal(with_it[1], with_it[0])
    for a, b in zip(jax.tree.leaves(state.inner), jax.tree.leaves(plain), strict=True):
        np.testing.assert_array_equal(a, b)


def test_gradients_that_stay_large_do_not_end_the_learning():
    seen, _ = _run(skip_large(optax.sgd(1.0), above=1.0, at_most=3), [[2.0, 0.0]] * 8)
    # Three are left out, the fourth is taken, and the count begins again.
    np.testing.assert_array_equal(-seen[:, 0] / 2, [0, 0, 0, 1, 1, 1, 1, 2])


def test_a_gradient_that_is_not_a_number_is_too_large():
    seen, _ = _run(skip_large(optax.sgd(1.0), above=1.0), [[np.nan, 0.0], [0.5, 0.0]])
    np.testing.assert_array_equal(seen, [[0.0, 0.0], [-0.5, 0.0]])


def test_it_is_a_setting_of_any_player():
    own = {"learning_rate": 1.0, "clip_norm": 1.0, "skip": {"above": 5.0, "at_most": 1}}
    seen, _ = _run(optimizer("sgd", **own), [[3.0, 0.0], [6.0, 0.0], [6.0, 0.0]])
    np.testing.assert_allclose(seen[:, 0], [-1.0, -1.0, -2.0])  # clipped, left out, clipped


@pytest.mark.parametrize(
    ("skip", "says"),
    [({"above": 0.0}, "above=0"), ({"above": 1.0, "at_most": 0}, "at_most=0"),
     ({"abov": 1.0}, "above")],
)  # fmt: skip
def test_mistakes_are_named(skip, says):
    with pytest.raises(ValueError, match=says):
        optimizer("sgd", learning_rate=1.0, skip=skip)
