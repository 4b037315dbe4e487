"""Checks that the settings of a sweep can be traced: one program for all their values."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.types import Options, PyTree
from vaejax.sweeps.grid import Grid

__all__ = ["check_traceable"]


def _error(name: str, reason: str) -> ValueError:
    return ValueError(
        f"cannot sweep over {name}: it changes the program, not only the numbers it computes with, "
        f"so each of its values needs a run of its own ({reason})"
    )


def _shapes(tree: PyTree) -> list[PyTree]:
    return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


def check_traceable(trace: Callable[[Options], PyTree], grid: Grid) -> PyTree:
    """Shapes of the result of `trace` for one model with traced settings.

    Args:
      trace: settings -> a model's state; it is only traced, never run.
      grid: the models.

    Raises:
      ValueError: a setting cannot be traced, or one of its values changes the arrays of the state,
        as a zero that turns a part off. Errors in the settings themselves are passed on.
    """

    def shapes(fixed: Options, traced_names: PyTree) -> PyTree:
        scalars = {name: jax.ShapeDtypeStruct((), jnp.float32) for name in traced_names}
        return jax.eval_shape(lambda values: trace({**fixed, **values}), scalars)

    first = grid.of(0)
    shapes(first, ())
    try:
        state = shapes(first, first)
    except Exception as error:
        for name in first:
            try:
                shapes(first, (name,))
            except Exception as cause:
                raise _error(name, str(cause).splitlines()[0]) from cause
        raise error
    for name, values in grid.settings.items():
        for value in np.unique(values):
            if value == 0.0 and _shapes(shapes({**first, name: 0.0}, ())) != _shapes(state):
                raise _error(name, "at 0 the model or an optimizer has other arrays")
    return state
