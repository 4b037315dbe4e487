"""Drawing sequences token by token: temperature, top-k, top-p, and the loop, in one program."""

from typing import Any

import jax
import jax.numpy as jnp

from vaejax.core.game import Params
from vaejax.networks import Autoregressive

_COLDEST = 1e-6  # below this temperature, only the most likely token is drawn


def truncated(
    logits: jax.Array,
    temperature: float | jax.Array = 1.0,
    top_k: int | jax.Array = 0,
    top_p: float | jax.Array = 1.0,
) -> jax.Array:
    """Logits `[..., K]` of the distribution to draw from; −∞ for what is left out.

    In order: the logits are divided by the temperature; all but the k most likely are left out;
    of what remains, renormalised, the fewest most likely whose probabilities reach p are kept
    (nucleus sampling, 1904.09751, eq. 2–3). Of equally likely ones the first count as more likely.

    Args:
      logits: of the model.
      temperature: below 1 sharper, above 1 flatter; 0 for the most likely alone. May be traced.
      top_k: k; 0 for all. May be traced.
      top_p: p; 1 for all, 0 for the most likely alone. May be traced.
    """
    size = logits.shape[-1]
    logits = logits / jnp.maximum(temperature, _COLDEST)
    order = jnp.argsort(-logits, axis=-1, stable=True)
    ranked = jnp.take_along_axis(logits, order, axis=-1)
    k = jnp.where(jnp.asarray(top_k) > 0, top_k, size)
    kept = jnp.arange(size) < k
    kept = jnp.broadcast_to(kept.reshape((1,) * (logits.ndim - 1) + (-1,)), logits.shape)
    p = jax.nn.softmax(jnp.where(kept, ranked, -jnp.inf), axis=-1)
    before = jnp.cumsum(p, axis=-1) - p  # the probability of all that are more likely
    kept = kept & ((before < top_p) | (jnp.asarray(top_p) >= 1.0))
    kept = kept.at[..., 0].set(True)
    ranks = jnp.argsort(order, axis=-1)
    return jnp.where(jnp.take_along_axis(kept, ranks, axis=-1), logits, -jnp.inf)


def draw_sequences(
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
    """`n` draws of whole sequences, int32 `[n, length]`, in one loop.

    Args:
      network: of the model.
      params: of the network.
      key: of the draws; each place has one of its own.
      n: how many.
      length: T.
      condition: `[n, C]`, or None.
      temperature: see `truncated`.
      top_k: see `truncated`.
      top_p: see `truncated`.
    """
    given = () if condition is None else (condition,)

    def further(carry: tuple[Any, jax.Array], t: jax.Array) -> Any:
        cache, token = carry
        logits, cache = network.step(params, cache, token, t)
        logits = truncated(logits, temperature, top_k, top_p)
        token = jax.random.categorical(jax.random.fold_in(key, t), logits).astype(jnp.int32)
        return (cache, token), token

    first = network.start(params, n, *given), jnp.zeros(n, jnp.int32)
    _, tokens = jax.lax.scan(further, first, jnp.arange(length))
    return tokens.T
