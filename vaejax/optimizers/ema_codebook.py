"""How codebooks learn: closed-form moving averages and revival, as gradient transformations.

Both read which codes were used from the `trace` that every update receives as an extra argument.
A codebook is `[K, D]`, or a stack of them `[..., K, D]`, as residual and product quantizers have.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from vaejax.core.game import Trace
from vaejax.core.registry import is_off
from vaejax.distributions import Codes
from vaejax.quantizers.segment_sums import code_sums


class EmaState(NamedTuple):
    """Moving averages of, per code, how many tokens chose it `[..., K]` and their sum."""

    count: Any
    total: Any


class UsageState(NamedTuple):
    """Moving average of how many tokens chose each code `[..., K]`."""

    count: Any


def _tokens(trace: Trace, level: int, codebook: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Features `[N, S, D]` and indices `[N, S]` of the tokens that `codebook` `[*stack, K, D]` saw.

    S counts the codebooks of a stack: the levels of a residual quantizer, the groups of a product.
    """
    posterior = trace.latents[level].posterior
    if not isinstance(posterior, Codes):
        raise ValueError(
            f"node {level} of the trace has a posterior {type(posterior).__name__}, "
            "but a codebook learns from codes"
        )
    if codebook.ndim < 2 or codebook.shape[-2] != posterior.size:
        raise ValueError(
            f"node {level} of the trace chooses among {posterior.size} codes, but a parameter of "
            f"the codebook's player has shape {codebook.shape}, not [..., {posterior.size}, D]: "
            "moving averages and revival are for codebooks, other quantizers learn by gradient"
        )
    *stack, dim = codebook.shape[:-2] + codebook.shape[-1:]
    found = posterior.features.shape
    if found[len(found) - 1 - len(stack) :] != (*stack, dim):
        raise ValueError(
            f"a codebook {codebook.shape} wants features [..., {', '.join(map(str, (*stack, dim)))}"
            f"], but node {level} has {found}"
        )
    books = math.prod(stack)
    features = posterior.features.reshape(-1, books, dim)
    return features, posterior.indices.reshape(-1, books)


def _usage(indices: jax.Array, codes: int) -> jax.Array:
    return code_sums(jnp.ones(indices.shape), indices, codes)  # [S, K]


def _dead(count: jax.Array, below: float) -> jax.Array:
    """Codes `[S, K]` used less than `below` times as often as the average code of their book."""
    return count < below * count.mean(axis=1, keepdims=True)


def _replacements(key: jax.Array, features: jax.Array, codes: int) -> jax.Array:
    """Randomly chosen features `[S, codes, D]`, of each book's own."""
    tokens, books, _ = features.shape
    which = jax.random.randint(key, (books, codes), 0, tokens)
    return features[which, jnp.arange(books)[:, None]]


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
        return EmaState(jax.tree.map(lambda e: jnp.ones(e.shape[:-1]), params), params)

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

        def average(
            codebook: jax.Array, count: jax.Array, total: jax.Array
        ) -> tuple[jax.Array, jax.Array, jax.Array]:
            features, indices = _tokens(trace, level, codebook)
            codes, dim = codebook.shape[-2:]
            count = decay * count.reshape(-1, codes) + (1 - decay) * _usage(indices, codes)
            sums = code_sums(features, indices, codes)  # [S, K, D]
            total = decay * total.reshape(-1, codes, dim) + (1 - decay) * sums
            if not is_off(revive_below):
                dead = _dead(count, revive_below)
                fresh = _replacements(key, features, codes)
                count = jnp.where(dead, count.mean(axis=1, keepdims=True), count)
                total = jnp.where(dead[..., None], fresh * count[..., None], total)
            n = count.sum(axis=1, keepdims=True)
            smoothed = (count + epsilon) / (n + codes * epsilon) * n
            new = (total / smoothed[..., None]).reshape(codebook.shape)
            return new - codebook, count.reshape(codebook.shape[:-1]), total.reshape(new.shape)

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
        return UsageState(jax.tree.map(lambda e: jnp.ones(e.shape[:-1]), params))

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

        def revive(
            change: jax.Array, codebook: jax.Array, count: jax.Array
        ) -> tuple[jax.Array, jax.Array]:
            features, indices = _tokens(trace, level, codebook)
            codes = codebook.shape[-2]
            count = decay * count.reshape(-1, codes) + (1 - decay) * _usage(indices, codes)
            dead = _dead(count, below)
            fresh = _replacements(key, features, codes).reshape(codebook.shape) - codebook
            change = jnp.where(dead.reshape(codebook.shape[:-1])[..., None], fresh, change)
            count = jnp.where(dead, count.mean(axis=1, keepdims=True), count)
            return change, count.reshape(codebook.shape[:-1])

        new = jax.tree.map(revive, updates, params, state.count)
        change, count = (jax.tree.map(lambda _, out, i=i: out[i], params, new) for i in range(2))
        return change, UsageState(count)

    return optax.GradientTransformationExtraArgs(init, update)
