"""What loss transforms are made with."""

from collections.abc import Callable

import jax

from vaejax.game import Losses, LossTransform, Params, Trace


def stateless(apply: Callable[[Losses, Trace], Losses]) -> LossTransform:
    """A transform without parameters or randomness: `(losses, trace) -> the new losses`."""

    def with_names(losses: Losses, params: Params, trace: Trace, key: jax.Array) -> Losses:
        del params, key
        return {**losses, **apply(losses, trace)}

    return LossTransform(init=lambda key, trace: {}, apply=with_names)


def sum_event(x: jax.Array) -> jax.Array:
    """Sums all but the batch axis: `[B, ...] -> [B]`."""
    return x.reshape(x.shape[0], -1).sum(axis=1)
