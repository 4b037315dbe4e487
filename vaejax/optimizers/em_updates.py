"""The spike-and-slab lasso, and what of sparse decoding has a closed form."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from vaejax.core.game import Params, Trace
from vaejax.distributions.likelihoods import LOWEST_LOG_SCALE, scale_feature
from vaejax.distributions.spike_and_slab_lasso import INCLUSION, WEIGHTS, SpikeAndSlabLasso


def closed_form_inclusion(
    prior: SpikeAndSlabLasso, tx: optax.GradientTransformation
) -> optax.GradientTransformationExtraArgs:
    """Moves a selector's W by `tx` and its θ by EM: E-step at the new W, then θ's mode.

    Args:
      prior: of W.
      tx: the player's own optimizer.
    """
    inner = optax.with_extra_args_support(tx)

    def init(params: Params) -> Any:
        return inner.init(_weights(params))

    def update(updates: Params, state: Any, params: Any = None, **extra: Any) -> tuple[Params, Any]:
        def move(selector: Any, change: Any) -> Any:
            if not _is_selector(selector):
                return change
            weights = selector[WEIGHTS] + change[WEIGHTS]
            new = prior.inclusion(prior.selected(weights, selector[INCLUSION]))
            return {WEIGHTS: change[WEIGHTS], INCLUSION: new - selector[INCLUSION]}

        changes, state = inner.update(_weights(updates), state, _weights(params), **extra)
        return jax.tree.map(move, params, changes, is_leaf=_is_selector), state

    return optax.GradientTransformationExtraArgs(init, update)


def _is_selector(tree: Any) -> bool:
    return isinstance(tree, dict) and WEIGHTS in tree


def _weights(tree: Any) -> Any:
    """The tree without the θ of its selectors."""

    def only(leaf: Any) -> Any:
        return {WEIGHTS: leaf[WEIGHTS]} if _is_selector(leaf) else leaf

    return jax.tree.map(only, tree, is_leaf=_is_selector)


class VarianceState(NamedTuple):
    """Moving average of each column's mean squared residual `[D]`, and of its weight `[]`."""

    total: Any
    weight: jax.Array


def residual_variance(
    decay: float = 0.99, df: float = 3.0, scale: float = 0.0
) -> optax.GradientTransformationExtraArgs:
    """Closed-form noise of `likelihoods.normal('predicted')`: σ_j as the mode of its posterior.

    σ_j² ~ Inverse-Gamma(df/2, df · scale/2) as in 2110.10804 (section 3.2), hence
    σ_j² = (n m_j + df · scale) / (n + df + 2), where m_j is the mean squared residual of column j
    over the last n examples, those of a moving average: B / (1 − decay), fewer while it is young.
    The parameters that it moves are the features `[1, D]` of σ.

    Args:
      decay: of the moving average.
      df: degrees of freedom of the prior.
      scale: variance that the prior expects.
    """

    def init(params: Any) -> VarianceState:
        return VarianceState(jax.tree.map(jnp.zeros_like, params), jnp.zeros(()))

    def update(
        updates: Any, state: VarianceState, params: Any = None, *, trace: Trace, **extra: Any
    ) -> tuple[Any, VarianceState]:
        del updates, extra
        examples = trace.x.shape[0]
        residual = jnp.square(trace.x - trace.likelihood.mean).mean(axis=0)[None]  # [1, D]
        weight = decay * state.weight + (1 - decay)
        n = examples * weight / (1 - decay)
        total = jax.tree.map(lambda t: decay * t + (1 - decay) * residual, state.total)

        def change(feature: jax.Array, total: jax.Array) -> jax.Array:
            variance = (n * total / weight + df * scale) / (n + df + 2)
            # The likelihood's scale levels off there.
            lowest = math.exp(2 * LOWEST_LOG_SCALE + 0.02)
            return scale_feature(jnp.sqrt(jnp.maximum(variance, lowest))) - feature

        return jax.tree.map(change, params, total), VarianceState(total, weight)

    return optax.GradientTransformationExtraArgs(init, update)
