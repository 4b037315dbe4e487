"""VQGAN's adaptive weight: two losses pull equally hard at the decoder's last layer."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaejax.core.game import Params
from vaejax.core.registry import near_names

_DELTA, _MOST = 1e-6, 1e4  # 2012.09841, eq. 7; the bound is its code's


class Adaptive(NamedTuple):
    """What the weight is computed from.

    Attributes:
      decode: `(params, zs) -> p(x | z)`, the model's, of all parameter groups.
      layer: the weights of the decoder's last layer, a path such as `decoder/Conv_2/kernel`.
      loss: which loss the generator's is balanced with, `nll` or `feature`.
    """

    decode: Callable[[Params, tuple[jax.Array, ...]], Any]
    layer: str
    loss: str = "nll"


def _leaf(tree: Any, path: list[str]) -> jax.Array:
    """The leaf at the end of a path.

    Raises:
      ValueError: there is none.
    """
    for name in path:
        known = tree if isinstance(tree, Mapping) else {}
        if name not in known:
            raise ValueError(f"the path of the last layer has an unknown {near_names(name, known)}")
        tree = known[name]
    if isinstance(tree, Mapping):
        raise ValueError(f"the last layer's path ends before a leaf, at {sorted(tree)}")
    return tree


def _replaced(tree: Any, path: list[str], leaf: jax.Array) -> Any:
    """The tree with another leaf at the end of a path that it has."""
    return {**tree, path[0]: _replaced(tree[path[0]], path[1:], leaf)} if path else leaf


def gradient_ratio(
    params: Params,
    layer: str,
    wanted: Callable[[Params], jax.Array],
    found: Callable[[Params], jax.Array],
) -> jax.Array:
    """‖∇ wanted‖ / (‖∇ found‖ + δ) in the weights of one layer, at most 10⁴: a constant `[]`.

    Esser et al. (2012.09841, eq. 7), with their code's bound.

    Args:
      params: parameter groups.
      layer: path of the weights in them, names joined by `/`.
      wanted: scalar function of the groups.
      found: another.

    Raises:
      ValueError: the path leads to no weights.
    """
    params, path = jax.lax.stop_gradient(params), layer.split("/")
    leaf = _leaf(params, path)

    def norm(f: Callable[[Params], jax.Array]) -> jax.Array:
        slope = jax.grad(lambda w: f(_replaced(params, path, w)))(leaf)
        return jnp.linalg.norm(slope.reshape(-1))

    return jax.lax.stop_gradient(jnp.clip(norm(wanted) / (norm(found) + _DELTA), 0.0, _MOST))
