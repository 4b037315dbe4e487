"""The spike-and-slab lasso, and what of sparse decoding has a closed form."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from vaejax.game import Params, Trace
from vaejax.likelihoods import LOWEST_LOG_SCALE, scale_feature

WEIGHTS, INCLUSION = "weights", "inclusion"  # the two arrays of a selector's parameters


class SpikeAndSlabLasso(NamedTuple):
    """A prior of weights W `[D, K]` of which most shall be zero (2110.10804, section 2.1).

    w_jk ~ θ_k · Laplace(slab) + (1 − θ_k) · Laplace(spike), θ_k ~ Beta(a, b): the paper's
    ψ₁, ψ₀, Beta prior and Bernoulli indicators, these summed out.

    Attributes:
      spike: rate λ0 of the narrow Laplace density, 1 / its mean absolute value.
      slab: rate λ1 of the wide one.
      a: of the Beta prior of θ.
      b: of the Beta prior of θ; None for D, the number of columns, as in the paper.
    """

    spike: float = 10.0
    slab: float = 1.0
    a: float = 1.0
    b: float | None = None

    def _two(self, weights: jax.Array, inclusion: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Log-densities `[D, K]` of (w, slab) and of (w, spike)."""
        size = jnp.abs(weights)
        slab = jnp.log(inclusion) + jnp.log(self.slab / 2) - self.slab * size
        spike = jnp.log1p(-inclusion) + jnp.log(self.spike / 2) - self.spike * size
        return slab, spike

    def log_prob(self, weights: jax.Array, inclusion: jax.Array) -> jax.Array:
        """log p(W | θ) + log p(θ) in nats, `[]`, the latter up to its constant.

        By Fisher's identity its gradient in W is −(λ1 p* + λ0 (1 − p*)) sign(w), that of the
        expected log-prior which the paper's M-step has, at the newest p*.

        Args:
          weights: W, `[D, K]`.
          inclusion: θ, `[K]`.
        """
        slab, spike = self._two(weights, inclusion[None, :])
        b = weights.shape[0] if self.b is None else self.b
        beta = (self.a - 1) * jnp.log(inclusion) + (b - 1) * jnp.log1p(-inclusion)
        return jnp.logaddexp(slab, spike).sum() + beta.sum()

    def selected(self, weights: jax.Array, inclusion: jax.Array) -> jax.Array:
        """The E-step: p*, the probability `[D, K]` that each weight is of the slab.

        θλ1 e^(−λ1|w|) / (θλ1 e^(−λ1|w|) + (1 − θ)λ0 e^(−λ0|w|)), 2110.10804, section 3.2; the
        authors' code leaves out the factors λ1 and λ0.
        """
        slab, spike = self._two(weights, inclusion[None, :])
        return jax.nn.sigmoid(slab - spike)

    def inclusion(self, selected: jax.Array) -> jax.Array:
        """The M-step of θ `[K]` given p* `[D, K]`: the mode of a Beta posterior."""
        d = selected.shape[0]
        b = d if self.b is None else self.b
        mode = (selected.sum(axis=0) + self.a - 1) / (d + self.a + b - 2)
        # A factor that is at zero could never come back, nor be told from a numerical accident.
        return jnp.clip(mode, 1e-6, 1 - 1e-6)


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
