"""Floating-point operations of a compiled program, with loops counted by their iterations."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, jaxprs_in_params

__all__ = ["flops", "products"]


def _product_flops(eqn: Any) -> float:
    """FLOPs of a matrix product or convolution, 2 per multiplication and addition; else 0."""
    if eqn.primitive.name not in ("dot_general", "conv_general_dilated"):
        return 0.0
    shapes = [v.aval.shape for v in eqn.invars]
    out = math.prod(eqn.outvars[0].aval.shape)
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return 2.0 * out * math.prod(shapes[0][i] for i in contracted)
    outputs = shapes[1][eqn.params["dimension_numbers"].rhs_spec[0]]
    return 2.0 * out * math.prod(shapes[1]) / outputs


def products(jaxpr: Jaxpr, *, loops_once: bool = False) -> float:
    """FLOPs of all matrix products and convolutions; of branches the most expensive counts.

    Args:
      jaxpr: of a program.
      loops_once: count the body of every `scan` once.
    """
    total = 0.0
    for eqn in jaxpr.eqns:
        inner = [products(sub, loops_once=loops_once) for sub in jaxprs_in_params(eqn.params)]
        branches = eqn.primitive.name == "cond"
        iterations = 1 if loops_once else eqn.params.get("length", 1)
        total += _product_flops(eqn) + (max(inner) if branches else iterations * sum(inner))
    return total


def flops(fn: Callable[..., Any], *args: Any) -> float:
    """FLOPs of `fn` as counted by the compiler, after common subexpressions are merged.

    The compiler counts the body of a loop once; the products of further iterations are added here.
    Loops of unknown length count once. The CPU's compiler is used, without running the program:
    that of an accelerator replaces products by library calls, which it does not count.
    """
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a), jnp.result_type(a)), args)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        traced = jax.jit(fn).trace(*shapes)
        counted = traced.lower().compile().cost_analysis() or {}
    jaxpr = traced.jaxpr.jaxpr
    return counted.get("flops", 0.0) + products(jaxpr) - products(jaxpr, loops_once=True)
