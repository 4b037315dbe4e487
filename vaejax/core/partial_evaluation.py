"""Computing once what does not depend on the parameters."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun


def hoisted(fn: Callable[..., Any], params: Any, *args: Any) -> Callable[[Any], Any]:
    """`params -> fn(params, *args)`, with all that depends on `args` alone computed already.

    Above all random draws: on CPU they are loops, which the compiler does not merge, nor anything
    behind them, so that functions which each repeat a pass would each repeat it in earnest.

    Args:
      fn: traced here, once; all that it returns are arrays.
      params: what the result will be called with, or the like of it.
      args: of `fn`, behind the parameters.
    """
    traced, shape = jax.make_jaxpr(fn, return_shape=True)(params, *args)
    jaxpr, structure = traced.jaxpr, jax.tree.structure(shape)
    split = len(jax.tree.leaves(params))
    own, given = jaxpr.invars[:split], jaxpr.invars[split:]

    before: list[JaxprEqn] = []
    after: list[JaxprEqn] = []
    depends = set(own)
    for eqn in jaxpr.eqns:
        if any(v in depends for v in _variables(eqn.invars)):
            after.append(eqn)
            depends.update(eqn.outvars)
        else:
            before.append(eqn)
    read = [v for eqn in after for v in _variables(eqn.invars)] + _variables(jaxpr.outvars)
    known = list(dict.fromkeys(v for v in read if v not in depends))

    def part(inputs: list[Var], eqns: list[JaxprEqn], outputs: Sequence[Any]) -> Callable[..., Any]:
        # Names of arguments would no longer fit.
        info = jaxpr.debug_info._replace(arg_names=None, result_paths=None)
        program = jaxpr.replace(invars=inputs, eqns=eqns, outvars=list(outputs), debug_info=info)
        return jaxpr_as_fun(ClosedJaxpr(program, traced.consts))

    values = part(given, before, known)(*jax.tree.leaves(args))
    rest = part([*own, *known], after, jaxpr.outvars)
    return lambda params: jax.tree.unflatten(structure, rest(*jax.tree.leaves(params), *values))


def _variables(operands: Sequence[Any]) -> list[Var]:
    return [v for v in operands if not isinstance(v, Literal)]
