"""Updates of codebooks without gradients: moving averages, and replacement of dead codes.

Both read the chosen codes from the `trace` that every update receives as an extra argument. A
codebook is `[K, D]`, or a stack `[..., K, D]` of them in residual and product quantizers.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from vaejax.core.game import Trace
from vaejax.core.registry import is_off
from vaejax.core.types import PyTree
from vaejax.distributions import is_quantized
from vaejax.quantizers.segment_sums import code_sums

__all__ = ["EmaState", "UsageState", "ema_codebook", "revive_codes"]


class EmaState(NamedTuple):
    """Moving averages, per code, of the number of its tokens `[..., K]` and their sum."""

    count: PyTree
    total: PyTree


class UsageState(NamedTuple):
    """Moving average of the number of tokens per code `[..., K]`."""

    count: PyTree


def _tokens(trace: Trace, node: int, codebook: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Features `[N, S, D]` and indices `[N, S]` of the tokens of a codebook `[*stack, K, D]`.

    S is the number of codebooks in the stack: levels of a residual, groups of a product quantizer.
    """
    posterior = trace.latents[node].posterior
    if not is_quantized(posterior):
        raise ValueError(
            f"node {node} of the trace has a posterior {type(posterior).__name__}, "
            "but the updates of a codebook need codes"
        )
    if codebook.ndim < 2 or codebook.shape[-2] != posterior.size:
        raise ValueError(
            f"node {node} of the trace has {posterior.size} codes, but a parameter of the "
            f"codebook's player has shape {codebook.shape}, not [..., {posterior.size}, D]: moving "
            "averages and revival are for codebooks, other quantizers learn by gradient"
        )
    *stack, dim = codebook.shape[:-2] + codebook.shape[-1:]
    shape = posterior.features.shape
    if shape[len(shape) - 1 - len(stack) :] != (*stack, dim):
        raise ValueError(
            f"a codebook {codebook.shape} needs features [..., "
            f"{', '.join(map(str, (*stack, dim)))}], but node {node} has {shape}"
        )
    books = math.prod(stack)
    features = posterior.features.reshape(-1, books, dim)
    return features, posterior.indices.reshape(-1, books)


def _usage(indices: jax.Array, codes: int) -> jax.Array:
    return code_sums(jnp.ones(indices.shape), indices, codes)  # [S, K]


def _dead(count: jax.Array, below: float) -> jax.Array:
    """Mask `[S, K]` of codes used less than `below` times as often as the codebook's average."""
    return count < below * count.mean(axis=1, keepdims=True)


def _replacements(
    key: jax.Array, features: jax.Array, indices: jax.Array, dead: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Which dead codes are replaced now, `[S, K]`, and by which features, `[S, K, D]`.

    Each by another token of those that have a code: equal codes would leave it to rounding errors
    which of them a token is assigned to. So of more dead codes than tokens some stay. The n tokens
    are divided into as many parts as codes are replaced, and one of each part is drawn.
    """
    books = jnp.arange(features.shape[1])[:, None]
    coded = indices >= 0  # [N, S]
    order = jnp.argsort(~coded, axis=0)  # stable: those with a code first
    n, rank = coded.sum(axis=0)[:, None], jnp.cumsum(dead, axis=1) - 1  # [S, 1], [S, K]
    replaced = dead & (rank < n)
    size, longer = jnp.divmod(n, jnp.maximum(replaced.sum(axis=1, keepdims=True), 1))
    length = size + (rank < longer).astype(jnp.int32)
    share = jax.random.uniform(key, dead.shape)
    drawn = jnp.floor(share * length.astype(jnp.float32)).astype(jnp.int32)
    first = rank * size + jnp.minimum(rank, longer)
    numbers = first + jnp.minimum(drawn, length - 1)
    rows = order[jnp.clip(numbers, 0, len(order) - 1), books]
    return replaced, features[rows, books]


def ema_codebook(
    decay: float = 0.99, epsilon: float = 1e-5, revive_below: float = 0.0, node: int = 0
) -> optax.GradientTransformationExtraArgs:
    """Codes as moving averages of the tokens that chose them, instead of gradient descent.

    VQ-VAE (1711.00937, appendix A.1, eq. 6–8), with Laplace smoothing of the counts. The tokens
    are assigned to the codes before the update. Counts start at 1, and without smoothing
    (`epsilon=0`) a code that no token chooses stays where it is. With it, as published, such a code
    drifts toward zero: its count and sum decay alike, but the pseudo-count remains.

    Args:
      decay: γ of the moving averages.
      epsilon: pseudo-count of the Laplace smoothing, without which the count of an unused code may
        underflow to zero.
      revive_below: codes used less than this fraction of the average are dead: they are replaced
        by random features of the batch, each by that of another token, and their counts reset to
        the average. 0 for never.
      node: number of the node of the trace that holds the codes.
    """

    def init(params: PyTree) -> EmaState:
        return EmaState(jax.tree.map(lambda e: jnp.ones(e.shape[:-1]), params), params)

    def update(
        updates: PyTree,
        state: EmaState,
        params: PyTree = None,
        *,
        trace: Trace,
        key: jax.Array,
        **extra: object,
    ) -> tuple[PyTree, EmaState]:
        del updates, extra

        def average(
            codebook: jax.Array, count: jax.Array, total: jax.Array
        ) -> tuple[jax.Array, jax.Array, jax.Array]:
            features, indices = _tokens(trace, node, codebook)
            codes, dim = codebook.shape[-2:]
            count = decay * count.reshape(-1, codes) + (1 - decay) * _usage(indices, codes)
            sums = code_sums(features, indices, codes)  # [S, K, D]
            total = decay * total.reshape(-1, codes, dim) + (1 - decay) * sums
            if not is_off(revive_below):
                dead = _dead(count, revive_below)
                dead, replacements = _replacements(key, features, indices, dead)
                count = jnp.where(dead, count.mean(axis=1, keepdims=True), count)
                total = jnp.where(dead[..., None], replacements * count[..., None], total)
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
    below: float, decay: float = 0.99, node: int = 0
) -> optax.GradientTransformationExtraArgs:
    """Replaces dead codes by random features; chained after the optimizer of a codebook.

    Args:
      below: codes used less than this fraction of the average are dead.
      decay: of the moving average of counts.
      node: number of the node of the trace that holds the codes.
    """

    def init(params: PyTree) -> UsageState:
        return UsageState(jax.tree.map(lambda e: jnp.ones(e.shape[:-1]), params))

    def update(
        updates: PyTree,
        state: UsageState,
        params: PyTree = None,
        *,
        trace: Trace,
        key: jax.Array,
        **extra: object,
    ) -> tuple[PyTree, UsageState]:
        del extra

        def revive(
            change: jax.Array, codebook: jax.Array, count: jax.Array
        ) -> tuple[jax.Array, jax.Array]:
            features, indices = _tokens(trace, node, codebook)
            codes = codebook.shape[-2]
            count = decay * count.reshape(-1, codes) + (1 - decay) * _usage(indices, codes)
            dead, replacements = _replacements(key, features, indices, _dead(count, below))
            dead_rows = dead.reshape(codebook.shape[:-1])[..., None]
            change = jnp.where(dead_rows, replacements.reshape(codebook.shape) - codebook, change)
            count = jnp.where(dead, count.mean(axis=1, keepdims=True), count)
            return change, count.reshape(codebook.shape[:-1])

        new = jax.tree.map(revive, updates, params, state.count)
        change, count = (jax.tree.map(lambda _, out, i=i: out[i], params, new) for i in range(2))
        return change, UsageState(count)

    return optax.GradientTransformationExtraArgs(init, update)
