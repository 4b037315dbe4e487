"""What loss transforms are made with."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vaejax.core.game import Losses, LossTransform, Params, Trace
from vaejax.distributions import as_rows


def stateless(apply: Callable[[Losses, Trace], Losses]) -> LossTransform:
    """A transform without parameters or randomness: `(losses, trace) -> the new losses`."""

    def with_names(losses: Losses, params: Params, trace: Trace, key: jax.Array) -> Losses:
        del params, key
        return {**losses, **apply(losses, trace)}

    return LossTransform(init=lambda key, trace: {}, apply=with_names)


def sum_event(x: jax.Array) -> jax.Array:
    """Sums all but the batch axis: `[B, ...] -> [B]`."""
    return x.reshape(x.shape[0], -1).sum(axis=1)


def event_log_prob(p: Any, x: jax.Array) -> jax.Array:
    """log p(x) of a distribution of events `[B, ...]`, summed over each: nats `[B]`."""
    p, x = as_rows(p, x)
    return sum_event(p.log_prob(x))


def squared_error(p: Any, x: jax.Array) -> jax.Array:
    """‖E[p] − x‖² of a distribution of events `[B, ...]`: `[B]`."""
    p, x = as_rows(p, x)
    return sum_event(jnp.square(p.mean - x))
