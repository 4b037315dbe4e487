"""Closed-form updates of sparse decoding: EM of the lasso's θ, and the noise variance."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from vaejax.core.game import Params, Trace
from vaejax.core.types import PyTree
from vaejax.distributions import in_base_units
from vaejax.distributions.likelihoods import MIN_LOG_SCALE, scale_feature
from vaejax.distributions.spike_and_slab_lasso import INCLUSION, WEIGHTS, SpikeAndSlabLasso

__all__ = ["VarianceState", "closed_form_inclusion", "residual_variance"]


def closed_form_inclusion(
    prior: SpikeAndSlabLasso, tx: optax.GradientTransformation
) -> optax.GradientTransformationExtraArgs:
    """Updates W of a selector by `tx` and its θ by EM: the E-step at the new W, then θ's mode.

    Args:
      prior: of W.
      tx: the optimizer of W and of the player's other parameters.
    """
    inner = optax.with_extra_args_support(tx)

    def init(params: Params) -> PyTree:
        return inner.init(_weights(params))

    def update(
        updates: Params, state: PyTree, params: PyTree = None, **extra: PyTree
    ) -> tuple[Params, PyTree]:
        def with_inclusion(selector: PyTree, change: PyTree) -> PyTree:
            if not _is_selector(selector):
                return change
            weights = selector[WEIGHTS] + change[WEIGHTS]
            p = prior.slab_probability(weights, selector[INCLUSION])
            new = prior.inclusion_mode(p)
            return {WEIGHTS: change[WEIGHTS], INCLUSION: new - selector[INCLUSION]}

        changes, state = inner.update(_weights(updates), state, _weights(params), **extra)
        return jax.tree.map(with_inclusion, params, changes, is_leaf=_is_selector), state

    return optax.GradientTransformationExtraArgs(init, update)


def _is_selector(tree: PyTree) -> bool:
    return isinstance(tree, dict) and WEIGHTS in tree


def _weights(tree: PyTree) -> PyTree:
    """The tree without the θ of its selectors."""

    def without_inclusion(leaf: PyTree) -> PyTree:
        return {WEIGHTS: leaf[WEIGHTS]} if _is_selector(leaf) else leaf

    return jax.tree.map(without_inclusion, tree, is_leaf=_is_selector)


class VarianceState(NamedTuple):
    """Unnormalised moving average of each column's squared residual `[1, D]`, and its weight."""

    total: PyTree
    weight: jax.Array


def residual_variance(
    decay: float = 0.99, df: float = 3.0, scale: float = 0.0
) -> optax.GradientTransformationExtraArgs:
    """Closed-form σ_j of `likelihoods.normal('predicted')`: the mode of its posterior.

    σ_j² ~ Inverse-Gamma(df/2, df · scale/2) as in 2110.10804 (section 3.2), hence
    σ_j² = (n m_j + df · scale) / (n + df + 2), where m_j is the mean squared residual of column j
    in a moving average over effectively n examples: B / (1 − decay), fewer in the first steps. The
    parameters that it updates are the features `[1, D]` of σ.

    Args:
      decay: of the moving average.
      df: degrees of freedom of the prior.
      scale: variance expected by the prior.
    """

    def init(params: PyTree) -> VarianceState:
        return VarianceState(jax.tree.map(jnp.zeros_like, params), jnp.zeros(()))

    def update(
        updates: PyTree,
        state: VarianceState,
        params: PyTree = None,
        *,
        trace: Trace,
        **extra: PyTree,
    ) -> tuple[PyTree, VarianceState]:
        del updates, extra
        examples = trace.x.shape[0]
        p, x, _ = in_base_units(trace.likelihood, trace.x)
        residual = jnp.square(x - p.mean).mean(axis=0)[None]  # [1, D]
        weight = decay * state.weight + (1 - decay)
        n = examples * weight / (1 - decay)
        total = jax.tree.map(lambda t: decay * t + (1 - decay) * residual, state.total)

        def change(feature: jax.Array, total: jax.Array) -> jax.Array:
            variance = (n * total / weight + df * scale) / (n + df + 2)
            # The likelihood's scale is bounded below; its inverse needs a value above the bound.
            min_variance = math.exp(2 * MIN_LOG_SCALE + 0.02)
            return scale_feature(jnp.sqrt(jnp.maximum(variance, min_variance))) - feature

        return jax.tree.map(change, params, total), VarianceState(total, weight)

    return optax.GradientTransformationExtraArgs(init, update)
