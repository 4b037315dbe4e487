"""Whether the settings of a sweep can be traced: one program, whatever their values."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.sweeps.grid import Grid


def _refused(name: str, why: str) -> ValueError:
    return ValueError(
        f"cannot sweep over {name}: it decides what the program is made of, not only what it "
        f"computes, so each of its values needs a run of its own ({why})"
    )


def _shapes(tree: Any) -> list[Any]:
    return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


def checked(trace: Callable[[Mapping[str, Any]], Any], grid: Grid) -> Any:
    """Shapes of what `trace` gives for one model whose settings are traced.

    Args:
      trace: settings -> a model's state; it is only traced, never run.
      grid: the models.

    Raises:
      ValueError: a setting cannot be traced, or one of its values changes what the state holds,
        as a zero that means none does. An error of the settings themselves is passed on.
    """

    def shapes(fixed: Mapping[str, Any], names: Any) -> Any:
        scalars = {name: jax.ShapeDtypeStruct((), jnp.float32) for name in names}
        return jax.eval_shape(lambda values: trace({**fixed, **values}), scalars)

    first = grid.of(0)
    shapes(first, ())
    try:
        state = shapes(first, first)
    except Exception as error:
        for name in first:
            try:
                shapes(first, (name,))
            except Exception as own:
                raise _refused(name, str(own).splitlines()[0]) from own
        raise error
    for name, values in grid.settings.items():
        for value in np.unique(values):
            if value == 0.0 and _shapes(shapes({**first, name: 0.0}, ())) != _shapes(state):
                raise _refused(name, "at 0 there are other arrays to learn or to remember")
    return state
