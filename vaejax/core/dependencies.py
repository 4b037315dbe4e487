"""Which fields of a batch a function depends on."""

from collections.abc import Callable, Mapping

import jax

from vaejax.core.types import PyTree

__all__ = ["fields_read"]


def fields_read(function: Callable[..., PyTree], batch: Mapping[str, PyTree]) -> list[str]:
    """The fields of a batch that the outputs of `function(batch)` are computed from.

    Args:
      function: traced, not run.
      batch: arrays, or their shapes and dtypes.
    """
    closed = jax.make_jaxpr(function)(batch)
    needed = {id(v) for v in closed.jaxpr.outvars}
    for equation in reversed(closed.jaxpr.eqns):
        if any(id(v) in needed for v in equation.outvars):
            needed |= {id(v) for v in equation.invars}
    names = sorted(batch)  # the order in which JAX flattens dicts
    return [n for n, v in zip(names, closed.jaxpr.invars, strict=True) if id(v) in needed]
