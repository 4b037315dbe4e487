"""Floating-point operations of a compiled program, loops counted as often as they run."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, jaxprs_in_params


def _of(eqn: Any) -> float:
    """Of a matrix product or convolution, 2 for each product and its sum; 0 of anything else."""
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
    """FLOPs of all matrix products and convolutions; of alternatives, the dearest.

    Args:
      jaxpr: of a program.
      loops_once: as if every `scan` ran its body a single time.
    """
    total = 0.0
    for eqn in jaxpr.eqns:
        inner = [products(sub, loops_once=loops_once) for sub in jaxprs_in_params(eqn.params)]
        alternatives = eqn.primitive.name == "cond"
        times = 1 if loops_once else eqn.params.get("length", 1)
        total += _of(eqn) + (max(inner) if alternatives else times * sum(inner))
    return total


def flops(fn: Callable[..., Any], *args: Any) -> float:
    """FLOPs of `fn` as the compiler counts them once it has merged what is done twice.

    It counts the body of a loop a single time: the products of further rounds are added. Loops
    of unknown length stay at one round. The compiler is that of the CPU, which is not asked to run
    the program: an accelerator's makes calls of a library of the products, and no longer sees them.
    """
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a), jnp.result_type(a)), args)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        traced = jax.jit(fn).trace(*shapes)
        counted = traced.lower().compile().cost_analysis() or {}
    jaxpr = traced.jaxpr.jaxpr
    return counted.get("flops", 0.0) + products(jaxpr) - products(jaxpr, loops_once=True)
