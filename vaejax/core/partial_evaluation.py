"""Partial evaluation: what does not depend on the parameters is computed once."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun

__all__ = ["precompute_constants"]


def precompute_constants(fn: Callable[..., Any], params: Any, *args: Any) -> Callable[[Any], Any]:
    """`params -> fn(params, *args)`, in which everything independent of `params` is precomputed.

    This is mainly for random samples: on CPU they are while-loops, which XLA's elimination of
    common subexpressions does not merge, nor anything computed from them. Without this function,
    functions that repeat one forward pass (a gradient for each player) would each execute it.

    Args:
      fn: traced once, by this call; all its outputs must be arrays.
      params: parameters, of which only the structure, shapes and dtypes are used.
      *args: the fixed arguments of `fn` after the parameters.

    Returns:
      A function of parameters like `params`; its values and gradients are those of `fn`.
    """
    traced, shape = jax.make_jaxpr(fn, return_shape=True)(params, *args)
    jaxpr, structure = traced.jaxpr, jax.tree.structure(shape)
    split = len(jax.tree.leaves(params))
    param_vars, arg_vars = jaxpr.invars[:split], jaxpr.invars[split:]

    constant_eqns: list[JaxprEqn] = []
    dependent_eqns: list[JaxprEqn] = []
    dependent = set(param_vars)
    for eqn in jaxpr.eqns:
        if any(v in dependent for v in _variables(eqn.invars)):
            dependent_eqns.append(eqn)
            dependent.update(eqn.outvars)
        else:
            constant_eqns.append(eqn)
    read = [v for eqn in dependent_eqns for v in _variables(eqn.invars)]
    read += _variables(jaxpr.outvars)
    constants = list(dict.fromkeys(v for v in read if v not in dependent))

    def program(
        inputs: list[Var], eqns: list[JaxprEqn], outputs: Sequence[Any]
    ) -> Callable[..., Any]:
        # The names of arguments and results do not fit the part of a program.
        info = jaxpr.debug_info._replace(arg_names=None, result_paths=None)
        part = jaxpr.replace(invars=inputs, eqns=eqns, outvars=list(outputs), debug_info=info)
        return jaxpr_as_fun(ClosedJaxpr(part, traced.consts))

    values = program(arg_vars, constant_eqns, constants)(*jax.tree.leaves(args))
    rest = program([*param_vars, *constants], dependent_eqns, jaxpr.outvars)
    return lambda params: jax.tree.unflatten(structure, rest(*jax.tree.leaves(params), *values))


def _variables(operands: Sequence[Any]) -> list[Var]:
    return [v for v in operands if not isinstance(v, Literal)]
