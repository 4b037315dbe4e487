"""Parameters for tests that need some, but not those of an initialiser."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core import game
from vaejax.training.train_step import TrainState, init_state

__all__ = ["random_params", "random_state"]


def random_params(init: Callable[..., Any], *arguments: Any, noise: float = 0.1) -> Any:
    """Random parameters of the shapes that `init(*arguments)` gives, without compiling it.

    An initialiser often takes longer to compile than what the test does with its result. Kernels
    and codes have unit gain; scales are 1 and biases 0, both with some noise, so that no part of a
    network is without effect.
    """
    return _random_values(jax.eval_shape(init, *arguments), noise)


def random_state(family: game.Family, batch: game.Batch) -> TrainState:
    """A state before the first step with random parameters, without compiling an initialiser."""
    shapes = jax.eval_shape(lambda batch: init_state(family, 0, batch), batch)
    params = _random_values(shapes.params, noise=0.1)
    state: TrainState = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    return state._replace(params=params, opt_state=game.optimizer(family.players).init(params))


def _random_values(shapes: Any, noise: float) -> Any:
    random = np.random.RandomState(0)

    def leaf(path: Any, shape: Any) -> jax.Array:
        name, values = jax.tree_util.keystr(path), random.standard_normal(shape.shape)
        if len(shape.shape) > 1:
            values /= np.sqrt(np.prod(shape.shape[:-1]))
        else:
            values = ("scale" in name or "norm" in name) + noise * values
        return jnp.asarray(values, shape.dtype)

    return jax.tree_util.tree_map_with_path(leaf, shapes)
