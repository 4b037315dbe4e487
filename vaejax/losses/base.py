"""Building blocks of loss transforms."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from vaejax.core.game import Losses, LossTransform, Params, Trace
from vaejax.distributions import Distribution, as_rows, elements_present

__all__ = ["event_log_prob", "squared_error", "stateless", "sum_event"]


def stateless(
    apply: Callable[[Losses, Trace], Losses], *, batch_statistics: tuple[str, ...] = ()
) -> LossTransform:
    """A transform without parameters or randomness, from `(losses, trace) -> new losses`."""

    def add(losses: Losses, params: Params, trace: Trace, key: jax.Array) -> Losses:
        del params, key
        return {**losses, **apply(losses, trace)}

    return LossTransform(lambda key, trace: {}, add, batch_statistics)


def sum_event(x: jax.Array) -> jax.Array:
    """The sum over all axes but the first: `[B, ...] -> [B]`."""
    return x.reshape(x.shape[0], -1).sum(axis=1)


def event_log_prob(p: Distribution, x: jax.Array) -> jax.Array:
    """log p(x) of events `[B, ...]`, summed over each event: nats `[B]`."""
    p, x = as_rows(p, x)
    return sum_event(p.log_prob(x))


def squared_error(p: Distribution, x: jax.Array) -> jax.Array:
    """‖E[p] − x‖² of events `[B, ...]`, summed over what is present of each event: `[B]`."""
    p, x = as_rows(p, x)
    errors, present = jnp.square(p.mean - x), elements_present(p, x)
    return sum_event(errors if present is None else jnp.where(present, errors, 0.0))
