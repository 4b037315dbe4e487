"""Parameters for tests that need some, but not those of an initialiser."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["random_params"]


def random_params(init: Callable[..., Any], *arguments: Any, noise: float = 0.1) -> Any:
    """Random parameters of the shapes that `init(*arguments)` gives, without compiling it.

    An initialiser often takes longer to compile than what the test does with its result. Kernels
    and codes have unit gain; scales are 1 and biases 0, both with some noise, so that no part of a
    network is without effect.
    """
    random = np.random.RandomState(0)

    def leaf(path: Any, shape: Any) -> jax.Array:
        name, values = jax.tree_util.keystr(path), random.standard_normal(shape.shape)
        if len(shape.shape) > 1:
            values /= np.sqrt(np.prod(shape.shape[:-1]))
        else:
            values = ("scale" in name or "norm" in name) + noise * values
        return jnp.asarray(values, shape.dtype)

    return jax.tree_util.tree_map_with_path(leaf, jax.eval_shape(init, *arguments))
