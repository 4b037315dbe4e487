"""VQGAN's adaptive weight: a ratio of gradient norms at the decoder's last layer."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vaejax.core.distribution import Distribution
from vaejax.core.game import LossTransform, Params, Trace, objective
from vaejax.core.registry import near_names
from vaejax.core.types import PyTree
from vaejax.losses.base import event_log_prob

__all__ = ["AdaptiveWeight", "gradient_ratio", "reconstruction_loss"]

_DELTA, _MAX_RATIO = 1e-6, 1e4  # 2012.09841, eq. 7; the bound is from its code


class AdaptiveWeight(NamedTuple):
    """How the weight of the generator's loss is computed.

    Attributes:
      decode: `(params, zs) -> p(x | z)` of the model, given all parameter groups.
      layer: the weights of the decoder's last layer, a path such as `decoder/Conv_2/kernel`;
        families replace `""` by that which the model declares, `Model.last_layer`.
      loss: the loss whose gradient norm the generator's shall have: `nll` or `feature`, or one or
        several (name -> weight) of `terms`.
      terms: makes these losses from a trace; None for `nll` alone.
    """

    decode: Callable[[Params, tuple[jax.Array, ...]], Distribution]
    layer: str = ""
    loss: str | Mapping[str, float] = "nll"
    terms: LossTransform | None = None


def reconstruction_loss(
    adaptive: AdaptiveWeight,
    params: Params,
    trace: Trace,
    zs: tuple[jax.Array, ...],
    key: jax.Array,
    feature: Callable[[Params, jax.Array], jax.Array],
) -> jax.Array:
    """The loss of the ratio's numerator as a function of the parameters, `[]`.

    Args:
      adaptive: names it.
      params: all parameter groups.
      trace: of the forward pass, without gradients.
      zs: that were decoded.
      key: of `terms`.
      feature: `(params, fake) -> [B]`, the loss `feature` of a reconstruction.
    """
    p = adaptive.decode(params, zs)
    if adaptive.terms is not None:
        again = trace._replace(likelihood=p)
        weights = {adaptive.loss: 1.0} if isinstance(adaptive.loss, str) else adaptive.loss
        named = adaptive.terms.apply({}, params, again, key)
        return objective(weights, named, jnp.asarray(trace.step))
    value = feature(params, p.mean) if adaptive.loss == "feature" else -event_log_prob(p, trace.x)
    return value.mean()


def _leaf(tree: PyTree, path: list[str]) -> jax.Array:
    """The leaf at the end of a path.

    Raises:
      ValueError: there is none.
    """
    for name in path:
        children = tree if isinstance(tree, Mapping) else {}
        if name not in children:
            raise ValueError(
                f"the path of the last layer has an unknown {near_names(name, children)}"
            )
        tree = children[name]
    if isinstance(tree, Mapping):
        raise ValueError(f"the last layer's path ends before a leaf, at {sorted(tree)}")
    leaf: jax.Array = tree
    return leaf


def _substitute(tree: PyTree, path: list[str], leaf: jax.Array) -> PyTree:
    """The tree with the leaf at the end of an existing path replaced."""
    return {**tree, path[0]: _substitute(tree[path[0]], path[1:], leaf)} if path else leaf


def gradient_ratio(
    params: Params,
    layer: str,
    numerator: Callable[[Params], jax.Array],
    denominator: Callable[[Params], jax.Array],
) -> jax.Array:
    """‖∇ numerator‖ / (‖∇ denominator‖ + δ) in one layer's weights, at most 10⁴, `[]`.

    Esser et al. (2012.09841, eq. 7), with the bound of their code. No gradient passes through it.

    Args:
      params: parameter groups.
      layer: path of the weights in them, names joined by `/`.
      numerator: scalar loss as a function of the groups.
      denominator: another one.

    Raises:
      ValueError: there are no weights at this path.
    """
    params, path = jax.lax.stop_gradient(params), layer.split("/")
    leaf = _leaf(params, path)

    def norm(f: Callable[[Params], jax.Array]) -> jax.Array:
        gradient = jax.grad(lambda w: f(_substitute(params, path, w)))(leaf)
        length: jax.Array = jnp.linalg.norm(gradient.reshape(-1))
        return length

    ratio = norm(numerator) / (norm(denominator) + _DELTA)
    return jax.lax.stop_gradient(jnp.clip(ratio, 0.0, _MAX_RATIO))
