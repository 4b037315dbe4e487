"""VQGAN's adaptive weight: two losses pull equally hard at the decoder's last layer."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaejax.game import Params
from vaejax.settings import near_names

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


def _replaced(tree: Any, path: list[str], change: Callable[[jax.Array], jax.Array]) -> Any:
    """The tree with one leaf changed.

    Raises:
      ValueError: no leaf is there.
    """
    if not path:
        if isinstance(tree, Mapping):
            raise ValueError(f"the last layer's path ends before a leaf, at {sorted(tree)}")
        return change(tree)
    if not isinstance(tree, Mapping) or path[0] not in tree:
        known = tree if isinstance(tree, Mapping) else ()
        raise ValueError(f"the path of the last layer has an unknown {near_names(path[0], known)}")
    return {**tree, path[0]: _replaced(tree[path[0]], path[1:], change)}


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
    leaf: list[jax.Array] = []
    _replaced(params, path, lambda w: leaf.append(w) or w)

    def norm(f: Callable[[Params], jax.Array]) -> jax.Array:
        slope = jax.grad(lambda w: f(_replaced(params, path, lambda _: w)))(leaf[0])
        return jnp.linalg.norm(slope.reshape(-1))

    return jax.lax.stop_gradient(jnp.clip(norm(wanted) / (norm(found) + _DELTA), 0.0, _MOST))
