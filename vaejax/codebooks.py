"""How codebooks learn: closed-form moving averages and revival, as gradient transformations.

Both read which codes were used from the `trace` that every update receives as an extra argument.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from vaejax.distributions import Codes
from vaejax.game import Trace


class EmaState(NamedTuple):
    """Moving averages of, per code, how many tokens chose it `[K]` and their sum `[K, D]`."""

    count: Any
    total: Any


class UsageState(NamedTuple):
    """Moving average of how many tokens chose each code `[K]`."""

    count: Any


def _tokens(trace: Trace, level: int) -> tuple[jax.Array, jax.Array]:
    """Features `[N, D]` and chosen indices `[N]` of a node of the trace."""
    posterior = trace.latents[level].posterior
    if not isinstance(posterior, Codes):
        raise ValueError(
            f"node {level} of the trace has a posterior {type(posterior).__name__}, "
            "but a codebook learns from codes"
        )
    dim = posterior.features.shape[-1]
    return posterior.features.reshape(-1, dim), posterior.indices.reshape(-1)


def _usage(indices: jax.Array, codes: int) -> jax.Array:
    return jax.ops.segment_sum(jnp.ones(indices.shape[0]), indices, codes)


def _dead(count: jax.Array, below: float) -> jax.Array:
    """Codes `[K]` used less than `below` times as often as the average code."""
    return count < below * count.mean()


def _replacements(key: jax.Array, features: jax.Array, codes: int) -> jax.Array:
    """Randomly chosen features `[codes, D]`."""
    return features[jax.random.randint(key, (codes,), 0, features.shape[0])]


def ema_codebook(
    decay: float = 0.99, epsilon: float = 1e-5, revive_below: float = 0.0, level: int = 0
) -> optax.GradientTransformationExtraArgs:
    """Codes as moving averages of the tokens that chose them, in place of gradient descent.

    VQ-VAE (1711.00937, appendix A.1, eq. 6–8), with Laplace smoothing of the counts. The tokens
    were looked up before the update. Counts start at 1, so that a code nobody chose stays put.

    Args:
      decay: γ of the moving averages.
      epsilon: pseudo-count of the Laplace smoothing.
      revive_below: codes used less than this fraction of the average are dead: they are replaced
        by random features of the batch, their averages restarted at average use. 0 for never.
      level: which node of the trace holds the codes.
    """

    def init(params: Any) -> EmaState:
        return EmaState(jax.tree.map(lambda e: jnp.ones(e.shape[0]), params), params)

    def update(
        updates: Any,
        state: EmaState,
        params: Any = None,
        *,
        trace: Trace,
        key: jax.Array,
        **extra: Any,
    ) -> tuple[Any, EmaState]:
        del updates, extra
        features, indices = _tokens(trace, level)

        def average(
            codebook: jax.Array, count: jax.Array, total: jax.Array
        ) -> tuple[jax.Array, jax.Array, jax.Array]:
            codes = codebook.shape[0]
            count = decay * count + (1 - decay) * _usage(indices, codes)
            total = decay * total + (1 - decay) * jax.ops.segment_sum(features, indices, codes)
            if revive_below > 0:
                dead = _dead(count, revive_below)
                fresh = _replacements(key, features, codes)
                count = jnp.where(dead, count.mean(), count)
                total = jnp.where(dead[:, None], fresh * count[:, None], total)
            n = count.sum()
            smoothed = (count + epsilon) / (n + codes * epsilon) * n
            return total / smoothed[:, None] - codebook, count, total

        new = jax.tree.map(average, params, state.count, state.total)
        change, count, total = (
            jax.tree.map(lambda _, out, i=i: out[i], params, new) for i in range(3)
        )
        return change, EmaState(count, total)

    return optax.GradientTransformationExtraArgs(init, update)


def revive_codes(
    below: float, decay: float = 0.99, level: int = 0
) -> optax.GradientTransformationExtraArgs:
    """Replaces dead codes by random features; to be chained after a codebook's optimizer.

    Args:
      below: codes used less than this fraction of the average are dead.
      decay: of the moving average of use.
      level: which node of the trace holds the codes.
    """

    def init(params: Any) -> UsageState:
        return UsageState(jax.tree.map(lambda e: jnp.ones(e.shape[0]), params))

    def update(
        updates: Any,
        state: UsageState,
        params: Any = None,
        *,
        trace: Trace,
        key: jax.Array,
        **extra: Any,
    ) -> tuple[Any, UsageState]:
        del extra
        features, indices = _tokens(trace, level)

        def revive(
            change: jax.Array, codebook: jax.Array, count: jax.Array
        ) -> tuple[jax.Array, jax.Array]:
            codes = codebook.shape[0]
            count = decay * count + (1 - decay) * _usage(indices, codes)
            dead = _dead(count, below)
            fresh = _replacements(key, features, codes) - codebook
            return jnp.where(dead[:, None], fresh, change), jnp.where(dead, count.mean(), count)

        new = jax.tree.map(revive, updates, params, state.count)
        change, count = (jax.tree.map(lambda _, out, i=i: out[i], params, new) for i in range(2))
        return change, UsageState(count)

    return optax.GradientTransformationExtraArgs(init, update)
