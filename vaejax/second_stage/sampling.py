"""Sampling of token sequences with temperature, top-k and top-p, in one compiled loop."""

import jax
import jax.numpy as jnp

from vaejax.core.game import Params
from vaejax.core.types import PyTree
from vaejax.networks import Autoregressive

__all__ = ["sample_sequences", "truncate_logits"]

_ROUNDING = 1e-6  # of sums of float32 probabilities


def truncate_logits(
    logits: jax.Array,
    temperature: float | jax.Array = 1.0,
    top_k: int | jax.Array = 0,
    top_p: float | jax.Array = 1.0,
) -> jax.Array:
    """Logits `[..., K]` of the distribution to sample from; −∞ for excluded tokens.

    In order: the logits are divided by the temperature; all but the k most likely tokens are
    excluded; of the others, renormalised, the smallest set of most likely tokens whose
    probabilities sum to at least p is kept (nucleus sampling, 1904.09751, eq. 2–3). Ties are
    broken in favour of the smaller index.

    Args:
      logits: of the model.
      temperature: below 1 sharper, above 1 flatter; 0 for the most likely token alone. May be
        traced.
      top_k: k; 0 for all. May be traced.
      top_p: p; 1 for all, 0 for the most likely token. May be traced.
    """
    size = logits.shape[-1]
    temperature = jnp.asarray(temperature, logits.dtype)
    # Relative to the largest, so that it remains finite at any temperature.
    logits = logits - logits.max(axis=-1, keepdims=True)
    logits = logits / jnp.where(temperature > 0, temperature, 1.0)
    order = jnp.argsort(-logits, axis=-1, stable=True)
    ranked = jnp.take_along_axis(logits, order, axis=-1)
    k = jnp.where(jnp.asarray(top_k) > 0, top_k, size)
    k = jnp.where(temperature > 0, k, 1)
    kept = jnp.arange(size) < k
    kept = jnp.broadcast_to(kept.reshape((1,) * (logits.ndim - 1) + (-1,)), logits.shape)
    p = jax.nn.softmax(jnp.where(kept, ranked, -jnp.inf), axis=-1)
    more_likely = jnp.cumsum(p, axis=-1) - p  # the total probability of all more likely tokens
    kept = kept & ((more_likely < top_p - _ROUNDING) | (jnp.asarray(top_p) >= 1.0))
    kept = kept.at[..., 0].set(True)
    ranks = jnp.argsort(order, axis=-1)
    return jnp.where(jnp.take_along_axis(kept, ranks, axis=-1), logits, -jnp.inf)


def sample_sequences(
    network: Autoregressive,
    params: Params,
    key: jax.Array,
    n: int,
    length: int,
    condition: jax.Array | None = None,
    *,
    temperature: float | jax.Array = 1.0,
    top_k: int | jax.Array = 0,
    top_p: float | jax.Array = 1.0,
) -> jax.Array:
    """`n` samples of whole sequences, int32 `[n, length]`, in one loop.

    Args:
      network: of the model.
      params: of the network.
      key: each position uses a key derived from it.
      n: number of samples.
      length: T.
      condition: `[n, C]`, or None.
      temperature: see `truncate_logits`.
      top_k: see `truncate_logits`.
      top_p: see `truncate_logits`.
    """
    inputs = () if condition is None else (condition,)

    def sample_next(carry: tuple[PyTree, jax.Array], t: jax.Array) -> PyTree:
        cache, token = carry
        logits, cache = network.step(params, cache, token, t)
        logits = truncate_logits(logits, temperature, top_k, top_p)
        token = jax.random.categorical(jax.random.fold_in(key, t), logits).astype(jnp.int32)
        return (cache, token), token

    first = network.init_cache(params, n, *inputs), jnp.zeros(n, jnp.int32)
    _, tokens = jax.lax.scan(sample_next, first, jnp.arange(length))
    return tokens.T
